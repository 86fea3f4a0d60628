"""The CLIP that open_clip builds, and the folder it loads it from.

Belongs here: its shape, the text tower without padding, writing and loading `clip`. Does not belong here: the vision
tower in transformers' class (vision.py), losses (loop.py).
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training.byte_bpe import VOCABULARY
from synthvlm_miniature.training.clip.tokenizer import CONTEXT
from synthvlm_miniature.training.pixels import RESOLUTION
from synthvlm_miniature.training.saving import half

PATCH = 8
MEAN = STD = (0.5, 0.5, 0.5)

MODEL_CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": RESOLUTION, "layers": 4, "width": 128, "head_width": 32, "patch_size": PATCH},
    "text_cfg": {
        "context_length": CONTEXT,
        "vocab_size": VOCABULARY,
        "width": 128,
        "heads": 4,
        "layers": 4,
        # Any name makes open_clip read the tokenizer from the model's own folder
        "hf_tokenizer_name": "miniature",
        "pad_id": 0,
        "eos_id": 2,
        "pool_type": "eos",
    },
}


def build_model() -> Any:
    """A fresh model; seed torch before."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    return CLIP(
        MODEL_CONFIG["embed_dim"],
        CLIPVisionCfg(**MODEL_CONFIG["vision_cfg"]),
        CLIPTextCfg(**MODEL_CONFIG["text_cfg"]),
    )


def encode_text(model: Any, tokens: Tensor) -> Tensor:
    """open_clip's `encode_text(normalize=True)` without the padding: it computes the same from fewer columns."""
    length = tokens.shape[1]
    x = model.token_embedding(tokens) + model.positional_embedding[:length]
    x = model.transformer(x, attn_mask=model.attn_mask[:length, :length])
    end = (tokens == MODEL_CONFIG["text_cfg"]["eos_id"]).int().argmax(dim=1)
    x = model.ln_final(x)[torch.arange(len(tokens), device=tokens.device), end]
    return functional.normalize((x @ model.text_projection).float(), dim=-1)


def save(model: Any, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write what open_clip loads as `local-dir:<folder>`: configuration, float16 weights, tokenizer."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    preprocess = {
        "mean": MEAN,
        "std": STD,
        "size": RESOLUTION,
        "mode": "RGB",
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    text = json.dumps({"model_cfg": MODEL_CONFIG, "preprocess_cfg": preprocess}, indent=2)
    (folder / "open_clip_config.json").write_text(text + "\n")
    save_file(half(model).state_dict(), folder / "open_clip_model.safetensors", metadata={"format": "pt"})
    tokenizer.save_pretrained(folder)


def load(folder: Path) -> Any:
    """The written model through open_clip itself."""
    import open_clip

    return open_clip.create_model(f"local-dir:{folder}").eval()
