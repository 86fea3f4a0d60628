"""Drawn scenes are read back and compared with their truth, sharp, blurred, in any resolution."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from synthvlm_miniature.world.agreement import agreement
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.inverse import read
from synthvlm_miniature.world.scenes import Scene, Split, sample_scene


def shares(scenes: list[Scene], pictures: list[Image.Image]) -> dict[str, float]:
    """Share of agreement by attribute."""
    found = [agreement(s, read(p)) for s, p in zip(scenes, pictures, strict=True)]
    return {key: float(np.mean([row[key] for row in found if row[key] is not None])) for key in found[0]}


@pytest.mark.parametrize("split", ["train", "held_out"])
def test_renders_are_read_back(split: Split) -> None:
    rng = np.random.default_rng(11)
    scenes = [sample_scene(rng, split) for _ in range(500)]
    assert min(shares(scenes, [draw(scene) for scene in scenes]).values()) >= 0.995


@pytest.mark.parametrize("resolution", [128, 200])
def test_any_resolution_is_read(resolution: int) -> None:
    rng = np.random.default_rng(12)
    scenes = [sample_scene(rng) for _ in range(100)]
    assert min(shares(scenes, [draw(scene, resolution) for scene in scenes]).values()) >= 0.98


def test_blurred_renders_are_still_read() -> None:
    rng = np.random.default_rng(13)
    scenes = [sample_scene(rng) for _ in range(300)]
    blurred = [draw(scene).filter(ImageFilter.GaussianBlur(1.2)) for scene in scenes]
    assert min(shares(scenes, blurred).values()) >= 0.97


def test_another_scene_does_not_agree() -> None:
    rng = np.random.default_rng(14)
    scenes = [sample_scene(rng) for _ in range(300)]
    found = shares(scenes, [draw(scene) for scene in scenes[1:] + scenes[:1]])
    assert found["colour"] < 0.3
    assert found["shape"] < 0.1
    assert found["background"] < 0.4
