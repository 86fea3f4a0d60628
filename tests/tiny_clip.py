"""A CLIP of random weights, and pictures for it.

For tests of models and of scoring: their conftest.py take the fixtures under the names they have here.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from harness import painted
from PIL import Image

GEOMETRY: dict[str, Any] = {
    "embed_dim": 24,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
MEAN, STD = (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)
END = 49407
"""The end token of CLIP's own tokenizer."""
LONG = " ".join(f"word{number}" for number in range(120))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP in open_clip's layout."""
    import torch
    from open_clip.model import CLIP
    from safetensors.torch import save_file

    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("clip")
    model = CLIP(**json.loads(json.dumps(GEOMETRY)))
    torch.nn.init.normal_(model.visual.proj, std=0.5)
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": GEOMETRY, "preprocess_cfg": {"mean": MEAN, "std": STD}})
    )
    save_file(model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


@pytest.fixture(scope="session")
def miniature_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP that is built and saved as the miniature one is, tokenizer and all."""
    import torch

    from synthvlm_miniature.training.clip.model import build_model, save
    from synthvlm_miniature.training.clip.tokenizer import build_tokenizer

    folder = tmp_path_factory.mktemp("miniature")
    torch.manual_seed(1)
    save(build_model(), build_tokenizer(scenes=20), folder)
    return folder


@pytest.fixture(scope="session")
def transformers_clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random CLIP in transformers' layout; open_clip knows its geometry as tiny-quick, and as tiny-exact with the
    other activation."""
    import open_clip

    folder = tmp_path_factory.mktemp("transformers")
    save_transformers_clip(GEOMETRY, folder, sign=-1)
    names = tmp_path_factory.mktemp("geometries")
    for name, quick in (("tiny-quick", True), ("tiny-exact", False)):
        (names / f"{name}.json").write_text(json.dumps({**GEOMETRY, "quick_gelu": quick}))
    open_clip.add_model_config(names)
    return folder


def save_transformers_clip(geometry: dict[str, Any], folder: Path, *, sign: int = 1) -> Any:
    """A random CLIPModel of an open_clip geometry, written in transformers' layout.

    Args:
        sign: of all cosines. Below zero they would all score nothing.
    """
    import torch
    from transformers import CLIPModel

    torch.manual_seed(2)
    model: Any = CLIPModel(_transformers_config(geometry))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1 and "logit" not in name:  # biases too: at zero a lost one would not show
            torch.nn.init.normal_(parameter, mean=float("norm" in name and "weight" in name), std=0.2)
    model.visual_projection.weight.data *= sign
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_mean": MEAN, "image_std": STD}))
    return model.eval()


def _transformers_config(geometry: dict[str, Any]) -> Any:
    from transformers import CLIPConfig

    vision, text = geometry["vision_cfg"], geometry["text_cfg"]
    return CLIPConfig(
        projection_dim=geometry["embed_dim"],
        vision_config={
            "hidden_size": vision["width"],
            "intermediate_size": 4 * vision["width"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "image_size": vision["image_size"],
            "patch_size": vision["patch_size"],
        },
        text_config={
            "hidden_size": text["width"],
            "intermediate_size": 4 * text["width"],
            "num_hidden_layers": text["layers"],
            "num_attention_heads": text["heads"],
            "vocab_size": text["vocab_size"],
            "max_position_embeddings": text["context_length"],
            "bos_token_id": 49406,
            "eos_token_id": END,
        },
    )


def picture(number: int, width: int = 48, height: int = 48) -> Image.Image:
    """A picture with structure at several scales, another one for every number."""
    return Image.fromarray((painted(number, width, height) * 255).round().astype(np.uint8))
