import numpy as np
import pytest

from synthvlm_miniature.world.drawing import draw, draw_template
from synthvlm_miniature.world.scenes import COLOURS, SHAPES, Scene, Thing, sample_scene


def test_a_thing_has_its_colour_and_the_rest_is_ground() -> None:
    scene = Scene((Thing("green", "circle", "small", "centre"),), "white", seed=0)
    pixels = np.asarray(draw(scene))
    assert pixels.shape == (64, 64, 3)
    assert tuple(pixels[32, 32]) == COLOURS["green"]
    assert tuple(pixels[0, 0]) == (255, 255, 255)


def test_a_scene_is_drawn_alike_every_time() -> None:
    scene = sample_scene(np.random.default_rng(1))
    assert draw(scene).tobytes() == draw(scene).tobytes()


@pytest.mark.parametrize("resolution", [32, 64, 100, 256])
def test_any_resolution(resolution: int) -> None:
    scene = sample_scene(np.random.default_rng(0))
    assert draw(scene, resolution).size == (resolution, resolution)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_template_touches_all_four_edges(shape: str) -> None:
    covered = np.asarray(draw_template(shape, 24)) > 0
    assert covered.any(axis=0).all()
    assert covered.any(axis=1).all()
