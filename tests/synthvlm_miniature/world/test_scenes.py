import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_miniature.world.scenes import COLOURS, HELD_OUT, OPPOSITE, SHAPES, SIZES, Split, sample_scene, split_of

SEEDS = st.integers(0, 2**32 - 1)
SPLITS = st.sampled_from(["train", "test", "held_out"])


@given(SEEDS, SPLITS)
@settings(max_examples=40, deadline=None)
def test_the_seed_alone_decides_scene(seed: int, split: Split) -> None:
    one, two = (sample_scene(np.random.default_rng(seed), split) for _ in range(2))
    assert one == two


@given(SEEDS, SPLITS)
@settings(max_examples=100, deadline=None)
def test_a_scene_belongs_to_exactly_the_split_it_was_drawn_from(seed: int, split: Split) -> None:
    scene = sample_scene(np.random.default_rng(seed), split)
    assert split_of(scene) == split
    assert scene.has_held_out() == (split == "held_out")
    assert len({thing.colour for thing in scene.things}) == scene.count


@given(SEEDS)
@settings(max_examples=100, deadline=None)
def test_things_stay_in_the_picture_and_apart(seed: int) -> None:
    scene = sample_scene(np.random.default_rng(seed))
    boxes = [(x, y, SIZES[t.size] / 2) for t, (x, y) in zip(scene.things, scene.centres(), strict=True)]
    assert all(half <= x <= 1 - half and half <= y <= 1 - half for x, y, half in boxes)
    for i, (x, y, half) in enumerate(boxes):
        assert all(max(abs(x - u), abs(y - v)) >= half + other for u, v, other in boxes[:i])


def test_relations_follow_places_and_turn_round() -> None:
    rng = np.random.default_rng(3)
    scenes = [scene for scene in (sample_scene(rng) for _ in range(60)) if scene.count > 1]
    for scene in scenes:
        assert scene.relation(0, 1) == OPPOSITE[scene.relation(1, 0)]
        (x, y), (u, v) = scene.centres()[:2]
        assert {"left of": x < u, "right of": x > u, "above": y < v, "below": y > v}[scene.relation(0, 1)]


def test_every_colour_and_shape_is_still_trained_on() -> None:
    seen = {(c, s) for c in COLOURS for s in SHAPES} - HELD_OUT
    assert {c for c, _ in seen} == set(COLOURS)
    assert {s for _, s in seen} == set(SHAPES)
