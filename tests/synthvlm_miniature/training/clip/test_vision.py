from pathlib import Path
from typing import Any

import torch
from transformers import AutoImageProcessor, CLIPVisionModel

from synthvlm_miniature.quality.embedding import Clip
from synthvlm_miniature.training.clip import vision
from synthvlm_miniature.training.clip.model import load
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.held_out import held_out_scenes


def test_the_vision_tower_is_the_same_in_transformers(shipped: Clip, models: Path) -> None:
    tower: Any = CLIPVisionModel.from_pretrained(models / "clip-vision", dtype=torch.float32)
    tower.eval()
    auto: Any = AutoImageProcessor
    processor = auto.from_pretrained(models / "clip-vision", backend="pil")
    scenes = held_out_scenes(16)
    # Not 64 pixels, so that resizing is compared as well
    pictures = [draw(scene, 64 if i % 2 else 96) for i, scene in enumerate(scenes)]
    pixels = processor(pictures, return_tensors="pt").pixel_values
    ours = torch.stack([shipped.preprocess(picture) for picture in pictures])
    assert (pixels - ours).abs().max() < 0.02
    with torch.no_grad():
        states = tower(ours, output_hidden_states=True)
        kept: list[torch.Tensor] = []
        hook = shipped.model.visual.transformer.resblocks[-2].register_forward_hook(lambda *a: kept.append(a[2]))
        embedded = shipped.model.encode_image(ours)
        hook.remove()
    assert (states.pooler_output @ shipped.model.visual.proj - embedded).abs().max() < 1e-4
    assert torch.allclose(states.hidden_states[-2], kept[0], atol=1e-4)


def test_the_shipped_tower_is_the_shipped_clips(models: Path, tmp_path: Path) -> None:
    vision.save(load(models / "clip"), tmp_path)
    weights = (models / "clip-vision" / "model.safetensors").read_bytes()
    assert (tmp_path / "model.safetensors").read_bytes() == weights
