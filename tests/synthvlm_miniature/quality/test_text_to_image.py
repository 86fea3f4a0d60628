"""The shipped text-to-image weights, as they are measured."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from synthvlm_miniature.quality import generation
from synthvlm_miniature.quality.generation import Manner
from synthvlm_miniature.quality.text_to_image import agreements, diversity, measure
from synthvlm_miniature.world.held_out import held_out_scenes

MANNER = Manner(guidance_scale=1.0, steps=8)


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Any:
    return generation.load(models / "text-to-image")


def test_shipped_weights_draw_the_captioned_colours(pipeline: Any) -> None:
    scenes = held_out_scenes(32, "test")
    made = generation.draw(pipeline, generation.captions(scenes, seed=5), 5, MANNER)
    right = agreements(scenes, made)
    wrong = agreements([*scenes[1:], scenes[0]], made)
    assert right["colour"].value > 0.7
    assert right["background"].value > 0.7
    assert right["colour"].value > wrong["colour"].value + 0.3


def test_same_seed_same_picture_and_other_seed_another(pipeline: Any) -> None:
    text = ["a large blue circle on the left on a white background"]
    few = Manner(guidance_scale=1.0, steps=4)
    one, two, three = (generation.draw(pipeline, text, seed, few) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_a_row_for_every_attribute(models: Path) -> None:
    rows = {name: value for name, value, _ in measure(models / "text-to-image", 16, manner=MANNER)}
    assert rows["text-to-image test background"] > 0.8
    assert len(rows) == 11


def test_seeds_differ_less_than_captions(pipeline: Any) -> None:
    seeds, jitter, texts = diversity(pipeline, manner=Manner(guidance_scale=1.0, steps=4))
    assert 0 < seeds < texts
    assert 0 < jitter < texts


def test_the_recipe_draws_as_it_was_measured() -> None:
    assert generation.as_the_recipe() == Manner(guidance_scale=1.0, steps=8, batch_size=32)


def test_shipped_folder_is_small_and_safe(models: Path) -> None:
    files = [path for path in (models / "text-to-image").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16 * 2**20
    assert {path.suffix for path in files} <= {".json", ".txt", ".md", ".safetensors"}
