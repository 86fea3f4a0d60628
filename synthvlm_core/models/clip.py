"""CLIP: from a recipe's `Model` to open_clip's model, transform and tokens.

Belongs here: the two layouts of weights, refusing what must not be loaded, tokens that always keep their end, cosines.
Does not belong here: what is done with these (scoring/scorers/clip_score.py, captions/rules/image_text_similarity.py).

open_clip's own layout (`open_clip_config.json`, `open_clip_model.safetensors`, a tokenizer where it needs one) is
opened as open_clip opens a `local-dir:`. transformers' layout (`config.json`, `model.safetensors`), in which OpenAI
publishes ViT-B/32, holds the same numbers under other names, and they are renamed; the recipe's `architecture` then
says which of open_clip's geometries they fill.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import weights as models
from synthvlm_core.parts.section import Model

if TYPE_CHECKING:
    from PIL import Image
    from torch import Tensor

OPEN_CLIP_CONFIG = "open_clip_config.json"
OPEN_CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors")
"""open_clip looks for these names before any pickle."""


@dataclass(frozen=True)
class Clip:
    """A loaded CLIP."""

    model: Any
    """open_clip's, in evaluation mode on `weights.device()`."""
    transform: "Callable[[Image.Image], Tensor]"
    """RGB image to a float32 tensor (3, height, width), as the model's authors preprocess."""
    tokens: "Callable[[list[str]], Tensor]"
    """Texts to int64 (texts, context length), each row with its end token."""


class Cosines:
    """Cosines of pictures and texts, in batches of one fixed shape. Features are normalised in float32 whatever the
    model computes in.

    The last batch is filled up, since a processor's kernels, and with them the last bits of a result, are chosen by a
    batch's shape. In batches of one shape a pair's cosine has the same bits whatever stands beside it, so that an
    interrupted and resumed run ends with the bytes of an uninterrupted one. That holds where each image falls to
    whole tiles of the kernels: batches of 16 and 64 held in every try on one thread and on two, with ViT-B/32's
    widths too; batches of 7 on two threads did not, within `ClipScore.bound`. Recipes take a multiple of 16.
    """

    def __init__(self, clip: Clip, batch_size: int, *, prefix: str = "") -> None:
        """
        Args:
            prefix: what stands before every text.
        """
        self._clip, self._batch_size, self._prefix = clip, batch_size, prefix

    def __call__(self, images: "Sequence[Image.Image]", texts: Sequence[str]) -> NDArray[np.float64]:
        """Cosine of each pair, float64 (pairs,).

        Args:
            images: RGB.
            texts: one per image. A text that occurs several times is encoded once.
        """
        if len(images) != len(texts):
            raise ValueError(f"{len(images)} images and {len(texts)} captions are no pairs")
        if not images:
            return np.empty(0)
        distinct = list(dict.fromkeys(texts))
        words = self._features(distinct, self._encode_texts)
        place = {text: number for number, text in enumerate(distinct)}
        pictures = self._features(images, self._encode_images)
        # row by row, so that the order of a sum cannot depend on how many pairs there are
        cosines: NDArray[np.float64] = (pictures * words[[place[text] for text in texts]]).sum(axis=1)
        return cosines

    def _features(self, items: Sequence[Any], encode: "Callable[[list[Any]], Tensor]") -> NDArray[np.float64]:
        """Features of length 1, (items, width), computed batch by batch."""
        import torch

        size = self._batch_size
        found = []
        for start in range(0, len(items), size):
            part = list(items[start : start + size])
            with torch.inference_mode():
                features: Tensor = encode(part + [part[-1]] * (size - len(part)))
            features = torch.nn.functional.normalize(features.float(), dim=-1)
            found.append(features[: len(part)].double().cpu().numpy())
        return np.concatenate(found)

    def _encode_images(self, images: "list[Image.Image]") -> "Tensor":
        import torch

        model = self._clip.model
        pixels = torch.stack([self._clip.transform(image) for image in images])
        parameter = next(model.parameters())
        features: Tensor = model.encode_image(pixels.to(parameter.device, parameter.dtype))
        return features

    def _encode_texts(self, texts: list[str]) -> "Tensor":
        model = self._clip.model
        tokens = self._clip.tokens([self._prefix + text for text in texts])
        features: Tensor = model.encode_text(tokens.to(next(model.parameters()).device))
        return features


def load(clip: Model, architecture: str, folder: str, key: str) -> Clip:
    """Load a CLIP.

    Args:
        architecture: open_clip's name of the geometry.
        folder: the recipe's folder, where relative paths start.
        key: the recipe's key of the section that names model and architecture, for messages.

    Raises:
        RecipeError: if weights are missing, pickled or of another geometry, if the architecture is unknown, or if the
            tokenizer ends no text.
    """
    import open_clip
    import torch

    with models.opened(clip, folder, f"{key}.model") as found:
        root = Path(found.location)
        layout = _open_clip_layout if (root / OPEN_CLIP_CONFIG).is_file() else _transformers_layout
        name, model = layout(root, architecture, key)
        tokenizer = _tokenizer(name, key)
    model = model.to(models.device(), dtype=getattr(torch, clip.dtype)).eval().requires_grad_(False)
    config = open_clip.transform.PreprocessCfg(**open_clip.get_model_preprocess_cfg(model))
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    return Clip(model, transform, tokens_of(tokenizer, key))


def tokens_of(tokenizer: Any, key: str) -> "Callable[[list[str]], Tensor]":
    """Tokens as an open_clip tokenizer makes them, with two promises that not every one keeps.

    A text cut at the context length still ends with the end token: a CLIP reads a text's feature off that token, and
    without it would read it off some other one. And a caption that spells a special token out does not make one.

    Raises:
        RecipeError: if the tokenizer has no end token or does not end short texts with it.
    """
    import torch
    from open_clip.tokenizer import SimpleTokenizer

    if isinstance(tokenizer, SimpleTokenizer):
        if tokenizer.reduction_fn is not None:
            raise RecipeError(f"{key}.model: a tokenizer that drops tokens by chance has no single score")
        special = set(tokenizer.all_special_ids)

        def simple(texts: list[str]) -> "Tensor":
            ids = torch.zeros(len(texts), tokenizer.context_length, dtype=torch.long)
            for row, text in zip(ids, texts, strict=True):
                kept = [token for token in tokenizer.encode(text) if token not in special]
                kept = kept[: tokenizer.context_length - 2]
                row[: len(kept) + 2] = torch.tensor([tokenizer.sot_token_id, *kept, tokenizer.eot_token_id])
            return ids

        return simple

    inner = tokenizer.tokenizer
    end = inner.eos_token_id if inner.eos_token_id is not None else inner.sep_token_id
    if end is None or not (tokenizer(["a"]) == end).any():
        raise RecipeError(f"{key}.model: its tokenizer does not end a text with an end token")

    def ended(texts: list[str]) -> "Tensor":
        ids: Tensor = tokenizer(texts)
        cut = ~(ids == end).any(dim=1)
        ids[cut, -1] = end
        return ids

    return ended


def _open_clip_layout(root: Path, architecture: str, key: str) -> tuple[str, Any]:
    """open_clip's name for the folder, and the model."""
    import open_clip

    if not any((root / name).is_file() for name in OPEN_CLIP_WEIGHTS):
        raise RecipeError(f"{key}.model.id: {root} has an {OPEN_CLIP_CONFIG} but no {OPEN_CLIP_WEIGHTS[0]}")
    config = json.loads((root / OPEN_CLIP_CONFIG).read_text(encoding="utf-8"))["model_cfg"]
    known = open_clip.get_model_config(architecture)
    if known is not None and (other := _differences(known, config)):
        raise RecipeError(f"{key}.architecture: {architecture} and {root / OPEN_CLIP_CONFIG} differ in {other}")
    name = f"local-dir:{root}"
    return name, open_clip.create_model(name, require_pretrained=True)


def _differences(known: dict[str, Any], found: dict[str, Any]) -> str:
    """Names of what two geometries do not agree on, among what both say; a GELU not named is the exact one."""
    sides = [{"quick_gelu": False, **side} for side in (known, found)]
    differing = [key for key in ("embed_dim", "quick_gelu") if sides[0].get(key) != sides[1].get(key)]
    for tower in ("vision_cfg", "text_cfg"):
        first, second = (side[tower] for side in sides)
        differing += [f"{tower}.{key}" for key in first if key in second and first[key] != second[key]]
    return ", ".join(differing)


def _tokenizer(name: str, key: str) -> Any:
    """open_clip's tokenizer of a model; nothing is fetched, no code of a repository run, no special token parsed."""
    import open_clip

    config = open_clip.get_model_config(name)["text_cfg"]
    if not config.get("hf_tokenizer_name"):
        return open_clip.get_tokenizer(name)
    if not name.startswith("local-dir:"):
        raise RecipeError(
            f"{key}.architecture: {name} takes its tokenizer from another repository, which is not pinned"
        )
    return open_clip.get_tokenizer(name, trust_remote_code=False, local_files_only=True, split_special_tokens=True)


def _transformers_layout(root: Path, architecture: str, key: str) -> tuple[str, Any]:
    """The architecture, and the model with a transformers CLIPModel's weights in it."""
    import open_clip
    from safetensors.torch import load_file

    config = open_clip.get_model_config(architecture)
    if config is None:
        raise RecipeError(
            f"{key}.architecture: {root} has no {OPEN_CLIP_CONFIG}, so its geometry must be one that open_clip knows; "
            f"{architecture!r} is none. `open_clip.list_models()` names them"
        )
    path = root / "model.safetensors"
    if not path.is_file():
        raise RecipeError(f"{key}.model.id: {root} has neither {OPEN_CLIP_CONFIG} nor model.safetensors")
    _refuse_other_activation(root, architecture, key, quick=bool(config.get("quick_gelu", False)))
    try:
        model = open_clip.model.CLIP(**config)
        model.load_state_dict(open_clip_names(load_file(path)))
    except (KeyError, TypeError, RuntimeError) as error:
        raise RecipeError(f"{key}.architecture: the weights of {path} do not fill {architecture}: {error}") from error
    preprocess = {**vars(open_clip.transform.PreprocessCfg()), "size": model.visual.image_size}
    stated = root / "preprocessor_config.json"
    if stated.is_file():
        values = json.loads(stated.read_text(encoding="utf-8"))
        preprocess |= {"mean": tuple(values["image_mean"]), "std": tuple(values["image_std"])}
    open_clip.model.set_model_preprocess_cfg(model, preprocess)
    return architecture, model


def _refuse_other_activation(root: Path, architecture: str, key: str, *, quick: bool) -> None:
    """OpenAI's weights in a geometry with the exact GELU would load, and score wrongly."""
    path = root / "config.json"
    if not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    for tower in ("vision_config", "text_config"):
        # absent from a configuration is transformers' default
        activation = (config.get(tower) or {}).get("hidden_act", "quick_gelu")
        if (activation == "quick_gelu") != quick:
            raise RecipeError(f"{key}.architecture: {architecture} does not have the {activation} of {path}")


def open_clip_names(state: "dict[str, Tensor]") -> "dict[str, Tensor]":
    """The weights of transformers' CLIPModel under open_clip's names, as open_clip shapes them.

    Raises:
        KeyError: if a weight is missing.
    """
    import torch

    renamed = {
        "visual.class_embedding": state["vision_model.embeddings.class_embedding"],
        "visual.conv1.weight": state["vision_model.embeddings.patch_embedding.weight"],
        "visual.positional_embedding": state["vision_model.embeddings.position_embedding.weight"],
        "visual.proj": state["visual_projection.weight"].T.contiguous(),
        "token_embedding.weight": state["text_model.embeddings.token_embedding.weight"],
        "positional_embedding": state["text_model.embeddings.position_embedding.weight"],
        "text_projection": state["text_projection.weight"].T.contiguous(),
        "logit_scale": state["logit_scale"],
    }
    plain = {
        "visual.ln_pre": "vision_model.pre_layrnorm",  # spelt so in transformers
        "visual.ln_post": "vision_model.post_layernorm",
        "ln_final": "text_model.final_layer_norm",
    }
    blocks = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for ours, theirs in (("visual.", "vision_model."), ("", "text_model.")):
        layer = 0
        while f"{theirs}encoder.layers.{layer}.layer_norm1.weight" in state:
            new, old = f"{ours}transformer.resblocks.{layer}.", f"{theirs}encoder.layers.{layer}."
            plain |= {new + name: old + other for name, other in blocks.items()}
            for kind in ("weight", "bias"):
                parts = [state[f"{old}self_attn.{part}_proj.{kind}"] for part in "qkv"]
                renamed[f"{new}attn.in_proj_{kind}"] = torch.cat(parts)
            layer += 1
    for name, other in plain.items():
        renamed |= {f"{name}.{kind}": state[f"{other}.{kind}"] for kind in ("weight", "bias")}
    return renamed
