"""The VLM: vision tower, projector and language model as one `LlavaForConditionalGeneration`, and its processor.

Belongs here: putting the parts together from a recipe, a fresh projector, which parts a stage trains, reading a
checkpoint folder. Does not belong here: texts and pictures (training/data/), training (training/loop.py), asking
(training/asking.py), where checkpoints are stored (training/checkpoints.py).

A picture takes (size / patch)² places of the language model's context: the patches of one layer of a CLIP vision
tower, without its class token. A tokenizer that has no `<image>` gets it, with a row of embeddings that is the mean of
the others: the row is a placeholder whose value the model never uses.
"""

from collections.abc import Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from synthvlm_core import hashing
from synthvlm_core.errors import RecipeError
from synthvlm_core.models import fitting
from synthvlm_core.models import weights as models
from synthvlm_core.models.closed import closed
from synthvlm_core.recipe.sections import Recipe, Variant

IMAGE = "<image>"
ROWS_MULTIPLE = 64
"""Embeddings grow to a multiple of this, where they must grow at all: matrix products are slow at odd sizes."""
CHAT_TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'user' %}USER: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>\n{% endif %}{% endfor %}"
    "{% for part in message['content'] %}{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}"
    "{% endif %} {% else %}ASSISTANT: {% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}{{ part['text'] }}{% endfor %}{% endif %}{{ eos_token }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""The words of `training.data.words`, for people who use the checkpoint through transformers."""

Part = Literal["vision_tower", "projector", "language_model"]
_PREFIXES: dict[str, Part] = {
    "model.vision_tower.": "vision_tower",
    "model.multi_modal_projector.": "projector",
    "model.language_model.": "language_model",
    "lm_head.": "language_model",
}


@dataclass(frozen=True)
class Vlm:
    """A `LlavaForConditionalGeneration` and its `LlavaProcessor`."""

    model: Any
    processor: Any

    @property
    def tokenizer(self) -> Any:
        return self.processor.tokenizer

    @property
    def image_tokens(self) -> int:
        """Places that a picture takes in the language model's context."""
        return int(self.model.config.image_seq_length)


def configuration(vision: Any, text: Any, *, feature_layer: int, image_token_id: int) -> Any:
    """A `LlavaConfig` with a 2-layer GELU projector.

    Args:
        vision: a `CLIPVisionConfig`.
        text: the language model's configuration.
        feature_layer: which of the tower's hidden states the projector reads; -2 is the last but one.
        image_token_id: token that stands for one patch.
    """
    from transformers import LlavaConfig

    # what a configuration of transformers takes beyond its declared fields
    tokens: dict[str, Any] = {name: getattr(text, name) for name in ("pad_token_id", "bos_token_id", "eos_token_id")}
    return LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=image_token_id,
        image_seq_length=(vision.image_size // vision.patch_size) ** 2,
        projector_hidden_act="gelu",
        vision_feature_select_strategy="default",
        vision_feature_layer=feature_layer,
        tie_word_embeddings=bool(text.tie_word_embeddings),
        **tokens,
    )


def skeleton(config: Any) -> Any:
    """The model of a configuration without any weights, on the meta device: shapes and counts at no cost."""
    import torch
    from transformers import LlavaForConditionalGeneration

    with torch.device("meta"):
        return LlavaForConditionalGeneration(config)


def build(recipe: Recipe, variant: Variant, image_aspect: Literal["crop", "pad"]) -> Vlm:
    """The recipe's vision tower and a variant's language model with a fresh, seeded projector between them.

    Args:
        image_aspect: what the processor does to a picture that is no square; see `TrainingStage`.

    Raises:
        RecipeError: if weights are missing or must not be loaded, the two do not fit the recipe or each other, or as
            `assemble`.
    """
    from transformers import AutoModelForCausalLM, CLIPVisionModel

    training = recipe.training
    with models.opened(training.vision_tower, recipe.folder, "training.vision_tower") as seeing:
        for at, wrong in fitting.tower(Path(seeing.location), training):
            raise RecipeError(f"training.{at}: {wrong}")
        tower = models.whole(CLIPVisionModel, seeing, "training.vision_tower")
        images = _image_processor(seeing.location, seeing.file_arguments(), pad=image_aspect == "pad")
    key = f"training.variants.{variant.name}.language_model"
    with models.opened(variant.language_model, recipe.folder, key) as speaking:
        for at, wrong in fitting.language(Path(speaking.location), training):
            raise RecipeError(f"{key}.id: {wrong}" if at == "id" else f"training.{at}: {wrong}")
        tokenizer = models.tokenizer(speaking, key)
        if tokenizer.eos_token_id is None:
            raise RecipeError(f"{key}.id: the tokenizer of {speaking.location} has no end token; take another model")
        language = models.whole(AutoModelForCausalLM, speaking, key)
        if not all(hasattr(language, part) for part in ("model", "lm_head")):
            raise RecipeError(
                f"{key}.id: {speaking.location} is a {type(language).__name__}, which has no `model` and `lm_head` to "
                "put a projector before; take one built like Llama, Mistral or Qwen2"
            )
    return assemble(
        tower, language, tokenizer, images, feature_layer=training.feature_layer, seed=projector_seed(recipe.seed)
    )


def assemble(tower: Any, language: Any, tokenizer: Any, image_processor: Any, *, feature_layer: int, seed: int) -> Vlm:
    """One model of loaded parts, which it takes over, with a fresh projector drawn from `seed`.

    Raises:
        RecipeError: if the vision tower has no such layer or its pictures are not whole patches.
    """
    from transformers import GenerationConfig, LlavaProcessor

    vision = tower.config
    if not -vision.num_hidden_layers - 1 <= feature_layer <= vision.num_hidden_layers:
        raise RecipeError(
            f"training.feature_layer: {feature_layer} is no hidden state of a vision tower with "
            f"{vision.num_hidden_layers} layers; give {-vision.num_hidden_layers - 1} to {vision.num_hidden_layers}"
        )
    crop = (image_processor.crop_size["height"], image_processor.crop_size["width"])
    if crop != (vision.image_size, vision.image_size) or vision.image_size % vision.patch_size:
        raise RecipeError(
            f"training.vision_tower: takes pictures of {vision.image_size} pixels in patches of {vision.patch_size}, "
            f"and its image processor makes {crop}; give a folder whose preprocessor_config.json fits its config.json"
        )
    image_token_id = _add_image_token(language, tokenizer)
    text = language.config
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        setattr(text, name, getattr(tokenizer, name))
    for part in (vision, text):
        part._name_or_path = ""  # a checkpoint's files must not depend on where its parts lay
    config = configuration(vision, text, feature_layer=feature_layer, image_token_id=image_token_id)
    model = skeleton(config)
    model.model.vision_tower = tower
    model.model.multi_modal_projector = _fresh_projector(config, seed)
    model.model.language_model = language.model
    model.lm_head = language.lm_head
    # The language model's own settings may name a temperature without sampling, which cannot be saved
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # ships so
        pad_token_id=tokenizer.pad_token_id, bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id
    )
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]  # ships so
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=vision.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
    return Vlm(model.eval(), processor)


def load(folder: str | Path) -> Vlm:
    """A checkpoint folder, in evaluation mode on `models.device()`, weights in the dtype they are stored in.

    Raises:
        RecipeError: if it does not load from its own files, or reaches out.
    """
    from transformers import AutoTokenizer, LlavaForConditionalGeneration, LlavaProcessor
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    arguments: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    models.refuse_strange(Path(folder), "vlm_checkpoint")
    with closed(Path(folder), "vlm_checkpoint"):
        model: Any = LlavaForConditionalGeneration.from_pretrained(
            folder, use_safetensors=True, dtype="auto", **arguments
        )
        # The processor's own loader would take the image processor that needs torchvision, whose pixels differ a little
        image_processor = LlavaImageProcessorPil.from_pretrained(folder, **arguments)
        tokenizer = AutoTokenizer.from_pretrained(folder, **arguments)
    processor = LlavaProcessor(  # type: ignore[no-untyped-call]  # ships so
        image_processor=image_processor,
        tokenizer=tokenizer,
        patch_size=model.config.vision_config.patch_size,
        vision_feature_select_strategy=model.config.vision_feature_select_strategy,
        num_additional_image_tokens=1,
        image_token=IMAGE,
        chat_template=CHAT_TEMPLATE,
    )
    return Vlm(model.to(models.device()).eval(), processor)


def parts(model: Any) -> dict[str, Part]:
    """Which part each named parameter belongs to."""
    found: dict[str, Part] = {}
    for name, _ in model.named_parameters():
        found[name] = next(part for prefix, part in _PREFIXES.items() if name.startswith(prefix))
    return found


def parameter_counts(model: Any) -> dict[str, int]:
    """Parameters of every part, and `total`."""
    counts = {"vision_tower": 0, "projector": 0, "language_model": 0}
    of = parts(model)
    for name, parameter in model.named_parameters():
        counts[of[name]] += parameter.numel()
    return {**counts, "total": sum(counts.values())}


def train_only(model: Any, trained: Set[Part], frozen_dtype: Any) -> list[str]:
    """Freeze all parts but the trained ones. Returns the names of the trained parameters.

    What is trained is held in float32: in half precision an optimizer's steps are lost to rounding. What is frozen
    takes `frozen_dtype`.
    """
    import torch

    of = parts(model)
    trained_names = []
    for name, parameter in model.named_parameters():
        learns = of[name] in trained
        parameter.requires_grad_(learns)
        parameter.data = parameter.data.to(torch.float32 if learns else frozen_dtype)
        if learns:
            trained_names.append(name)
    return trained_names


def projector_seed(seed: int) -> int:
    """Seed of the projector's first weights: hash of the recipe's seed."""
    return int(hashing.of_json(["projector", seed])[:15], 16)


def _fresh_projector(config: Any, seed: int) -> Any:
    """PyTorch's own initialisation of linear layers, as LLaVA's projector has it."""
    import torch
    from transformers.models.llava.modeling_llava import LlavaMultiModalProjector

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlavaMultiModalProjector(config)


def _add_image_token(language: Any, tokenizer: Any) -> int:
    """Id of `<image>`, added where the tokenizer has none; a padding token likewise."""
    import torch

    if tokenizer.pad_token_id is None:
        # Padding is masked everywhere, so any token will do
        tokenizer.pad_token = tokenizer.unk_token if tokenizer.unk_token is not None else tokenizer.eos_token
    if tokenizer.convert_tokens_to_ids(IMAGE) in (None, tokenizer.unk_token_id):
        tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    image_token_id = int(tokenizer.convert_tokens_to_ids(IMAGE))
    rows = language.get_input_embeddings().weight.shape[0]
    if image_token_id >= rows:
        language.resize_token_embeddings(len(tokenizer), pad_to_multiple_of=ROWS_MULTIPLE, mean_resizing=False)
        with torch.no_grad():
            for layer in (language.get_input_embeddings(), language.get_output_embeddings()):
                layer.weight[rows:] = layer.weight[:rows].float().mean(dim=0).to(layer.weight.dtype)
    return image_token_id


def _image_processor(location: str, arguments: dict[str, Any], *, pad: bool) -> Any:
    """CLIP's preprocessing with Pillow, behind a padding to a square with the mean colour where asked for."""
    from transformers import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

    # a folder without settings of its own has CLIP's usual ones wrong in size: better an error from `assemble`
    clip = CLIPImageProcessorPil.from_pretrained(location, **arguments)
    return LlavaImageProcessorPil(
        size=dict(clip.size),
        crop_size=dict(clip.crop_size),
        resample=clip.resample,
        image_mean=list(clip.image_mean),
        image_std=list(clip.image_std),
        do_pad=pad,
    )
