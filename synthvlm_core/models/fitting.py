"""Whether a vision tower and a language model make a VLM, as far as their configurations tell.

Belongs here: what is knowable from small files before any weight is loaded. Does not belong here: whether there are
weights (weights.py), putting the parts together (vlm.py).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from synthvlm_core.recipe.sections import Evaluation, Training

CLIP_TOWERS = ("clip", "clip_vision_model")
"""transformers' names of the configurations whose vision tower a projector can read."""
LEAST_TEXT = 16
"""Tokens beside a picture's that a row must have room for."""
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")

Misfit = tuple[str, str]
"""A key below the section, and what is wrong with it and what to do."""


def tower(root: Path, training: Training) -> Iterator[Misfit]:
    """What is wrong with a folder as the vision tower of a recipe's `training`."""
    config, why = _json(root, "config.json")
    images, why_images = _json(root, "preprocessor_config.json")
    for wrong in filter(None, (why, why_images)):
        yield "vision_tower.id", wrong
    if config is None:
        return
    if config.get("model_type") not in CLIP_TOWERS:
        what = f"{root / 'config.json'} is of a {config.get('model_type')!r}; name a CLIP, or the vision part of one"
        yield "vision_tower.id", what
        return
    seeing = {"num_hidden_layers": 12, "image_size": 224, "patch_size": 32, **config.get("vision_config", config)}
    layers, size, patch = (int(seeing[name]) for name in ("num_hidden_layers", "image_size", "patch_size"))
    if not -layers - 1 <= training.feature_layer <= layers:
        yield (
            "feature_layer",
            f"{training.feature_layer} is no hidden state of a vision tower with {layers} layers; give "
            f"{-layers - 1} to {layers}",
        )
    cut = (images or {}).get("crop_size")
    crop = (cut.get("height"), cut.get("width")) if isinstance(cut, dict) else (cut, cut)
    if size % patch or (cut is not None and crop != (size, size)):
        yield (
            "vision_tower",
            f"takes pictures of {size} pixels in patches of {patch}, and its image processor makes {crop}; give a "
            "folder whose preprocessor_config.json fits its config.json",
        )
        return
    least = (size // patch) ** 2 + LEAST_TEXT
    for stage in ("align", "finetune"):
        if (longest := getattr(training, stage).max_length) < least:
            yield (
                f"{stage}.max_length",
                f"{longest}, and a picture takes {least - LEAST_TEXT} tokens: give at least {least}",
            )


def language(root: Path, training: Training) -> Iterator[Misfit]:
    """What is wrong with a folder as the language model of a variant; keys are those of `training` or of the model."""
    config, why = _json(root, "config.json")
    if why is not None:
        yield "id", why
    if not any((root / name).is_file() for name in _TOKENIZERS):
        yield "id", f"{root} holds no tokenizer ({', '.join(_TOKENIZERS)}); copy its files there"
    longest = (config or {}).get("max_position_embeddings")
    for stage in ("align", "finetune"):
        given = getattr(training, stage).max_length
        if isinstance(longest, int) and given > longest:
            yield f"{stage}.max_length", f"{given}, and {root} takes {longest} tokens: give at most {longest}"


def answers(root: Path, evaluation: Evaluation) -> Iterator[Misfit]:
    """What is wrong with a recipe's `evaluation` for a folder as the language model."""
    config, _ = _json(root, "config.json")
    longest = (config or {}).get("max_position_embeddings")
    if isinstance(longest, int) and evaluation.max_new_tokens >= longest:
        what = f"{evaluation.max_new_tokens} leave no room for a question in the {longest} tokens of {root}; lower it"
        yield "max_new_tokens", what


def _json(root: Path, name: str) -> tuple[dict[str, Any] | None, str | None]:
    """A configuration, or what is wrong with it."""
    path = root / name
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, f"{root} has no {name}; copy it there from where the model was published"
    except (OSError, ValueError, RecursionError) as error:
        return None, f"{path} cannot be read as JSON ({error}); get it anew"
    if not isinstance(found, dict):
        return None, f"{path} is no JSON object; get it anew"
    return found, None
