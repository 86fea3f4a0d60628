import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import CLIPImageProcessorPil

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import vlm
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe


def paper_geometry(rows: int) -> tuple[object, object]:
    """ViT-L/14-336 and Vicuna-7B as their config.json files have them."""
    from transformers import CLIPVisionConfig, LlamaConfig

    vision = CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
        projection_dim=768,
    )
    text = LlamaConfig(
        vocab_size=rows,
        hidden_size=4096,
        intermediate_size=11008,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=32,
    )
    return vision, text


def test_the_papers_geometry_has_its_parameters() -> None:
    vision, text = paper_geometry(32_000)
    feature_layer = recipes.load("paper").training.feature_layer
    config = vlm.configuration(vision, text, feature_layer=feature_layer, image_token_id=31_999)
    assert config.image_seq_length == 576
    counts = vlm.parameter_counts(vlm.skeleton(config))
    width, inner, layers, rows = 4096, 11008, 32, 32_000
    llama = 2 * rows * width + layers * (4 * width**2 + 3 * width * inner + 2 * width) + width
    see, deep, inside = 1024, 24, 4096
    embeddings = see + 3 * 14**2 * see + (24**2 + 1) * see
    block = 4 * (see**2 + see) + 2 * see * inside + inside + see + 4 * see
    assert counts == {
        "vision_tower": embeddings + deep * block + 4 * see,
        "projector": (1024 + 1) * 4096 + (4096 + 1) * 4096,
        "language_model": llama,
        "total": 7_062_902_784,
    }


def test_the_papers_vision_tower_feeds_a_language_model(tiny_models: Path, tmp_path: Path) -> None:
    """ViT-L/14-336 at its full size with random weights: a picture becomes 576 places of the context."""
    from transformers import AutoTokenizer, CLIPImageProcessorPil, CLIPVisionModel, LlamaForCausalLM

    vision, _ = paper_geometry(32_000)
    CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336}).save_pretrained(
        tmp_path
    )
    images = vlm._image_processor(str(tmp_path), {"local_files_only": True}, pad=True)
    language = LlamaForCausalLM.from_pretrained(tiny_models / "language")
    tokenizer = AutoTokenizer.from_pretrained(tiny_models / "language")
    made = vlm.assemble(CLIPVisionModel(vision), language, tokenizer, images, feature_layer=-2, seed=0)
    assert vlm.parameter_counts(made.model)["vision_tower"] == 303_507_456
    pixels = images([Image.new("RGB", (500, 300), "red")], return_tensors="pt").pixel_values
    assert pixels.shape == (1, 3, 336, 336)
    with torch.inference_mode():
        seen = made.model.get_image_features(pixels).pooler_output
    assert seen[0].shape == (made.image_tokens, language.config.hidden_size) == (576, language.config.hidden_size)


def test_a_model_is_put_together_from_the_recipe(tiny_vlm: Vlm) -> None:
    config = tiny_vlm.model.config
    assert tiny_vlm.image_tokens == 16
    assert config.vision_feature_layer == -2
    assert config.vision_feature_select_strategy == "default"
    batch = tiny_vlm.processor(
        text=["USER: <image>\nwhat? ASSISTANT:"], images=[Image.new("RGB", (40, 90))], return_tensors="pt"
    )
    assert int((batch["input_ids"] == config.image_token_id).sum()) == 16
    assert tiny_vlm.model(**batch).logits.shape[:2] == batch["input_ids"].shape


def test_the_projector_depends_on_the_recipes_seed_alone(tiny_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    def first(recipe: Recipe) -> torch.Tensor:
        torch.manual_seed(int(torch.randint(1000, (1,))))
        made = vlm.build(recipe, recipe.training.variants[0], "crop")
        weight: torch.Tensor = made.model.model.multi_modal_projector.linear_1.weight
        return weight

    assert torch.equal(first(tiny_recipe), first(tiny_recipe))
    assert not torch.equal(first(tiny_recipe), first(edited(tiny_recipe, {"seed": 9})))


def test_a_tokenizer_without_an_image_token_gets_one(tiny_models: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import CLIPVisionModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2, "a": 3, "b": 4}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>")),
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
    )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    language = LlamaForCausalLM(
        LlamaConfig(vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1)
    )
    old = language.lm_head.weight.detach().clone()
    tower = CLIPVisionModel.from_pretrained(tiny_models / "clip-vision")
    images = vlm._image_processor(str(tiny_models / "clip-vision"), {"local_files_only": True}, pad=False)
    made = vlm.assemble(tower, language, tokenizer, images, feature_layer=-2, seed=0)
    assert made.model.config.image_token_id == 5
    assert tokenizer.pad_token == "<unk>"
    assert made.model.lm_head.weight.shape == (vlm.ROWS_MULTIPLE, 8)
    assert torch.equal(made.model.lm_head.weight[:5], old)
    assert torch.allclose(made.model.lm_head.weight[5:], old.mean(dim=0).expand(59, 8))
    assert made.model.config.text_config.vocab_size == vlm.ROWS_MULTIPLE


def test_padding_or_cropping_is_part_of_the_processor(tiny_recipe: Recipe, tmp_path: Path) -> None:
    wide = Image.new("RGB", (64, 32), "red")
    seen = {}
    for aspect in ("crop", "pad"):
        made = vlm.build(tiny_recipe, tiny_recipe.training.variants[0], aspect)  # type: ignore[arg-type]
        made.model.save_pretrained(tmp_path / aspect)
        made.processor.save_pretrained(tmp_path / aspect)
        loaded = vlm.load(tmp_path / aspect)
        assert loaded.processor.image_processor.do_pad == (aspect == "pad")
        pixels = loaded.processor.image_processor([wide], return_tensors="pt").pixel_values
        assert torch.equal(pixels, made.processor.image_processor([wide], return_tensors="pt").pixel_values)
        seen[aspect] = pixels[0]
    assert torch.allclose(seen["crop"], seen["crop"][:, :1, :1].expand_as(seen["crop"]), atol=1e-4)
    assert seen["pad"][:, 0].abs().max() < 0.05, "the mean colour becomes about zero"


def test_no_file_names_a_place_of_this_machine(tiny_vlm: Vlm, tiny_models: Path, tmp_path: Path) -> None:
    tiny_vlm.model.save_pretrained(tmp_path)
    tiny_vlm.processor.save_pretrained(tmp_path)
    for file in tmp_path.iterdir():
        assert str(tiny_models).encode() not in file.read_bytes(), file.name


def test_the_chat_template_has_the_words_of_training(tiny_vlm: Vlm) -> None:
    message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "what?"}]}
    text = tiny_vlm.processor.apply_chat_template([message], add_generation_prompt=True)
    assert text == "USER: <image>\nwhat? ASSISTANT:"


def test_a_layer_that_is_not_there_is_refused(tiny_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    recipe = edited(tiny_recipe, {"training.feature_layer": -4})
    with pytest.raises(RecipeError, match=r"feature_layer: -4.*2 layers; give -3 to 2"):
        vlm.build(recipe, recipe.training.variants[0], "crop")


def test_a_tower_whose_pictures_are_of_another_size_is_refused(
    tiny_recipe: Recipe, tiny_models: Path, tmp_path: Path, edited: Callable[..., Recipe]
) -> None:
    shutil.copytree(tiny_models / "clip-vision", tmp_path / "tower")
    CLIPImageProcessorPil(size={"shortest_edge": 48}, crop_size={"height": 48, "width": 48}).save_pretrained(
        tmp_path / "tower"
    )
    recipe = edited(tiny_recipe, {"training.vision_tower.id": str(tmp_path / "tower")})
    with pytest.raises(RecipeError, match=r"vision_tower: takes pictures of 32 pixels .* makes \(48, 48\); give a"):
        vlm.build(recipe, recipe.training.variants[0], "crop")
