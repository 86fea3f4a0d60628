import numpy as np

from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.inverse import read
from synthvlm_miniature.world.scenes import Scene, Thing


def test_a_thing_is_read_with_its_place_and_extent() -> None:
    scene = Scene((Thing("green", "cross", "large", "left"),), "grey", seed=3)
    reading = read(draw(scene))
    (thing,) = reading.things
    assert (thing.colour, thing.shape, thing.size) == ("green", "cross", "large")
    assert np.allclose(thing.centre, scene.centres()[0], atol=0.02)
    assert reading.find("green") == thing
    assert reading.find("red") is None


def test_an_empty_picture_shows_nothing() -> None:
    reading = read(np.full((64, 64, 3), 255, dtype=np.uint8))
    assert reading.things == ()
    assert reading.background == "white"
