import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_miniature.world.captions import STYLES, Detail, Style, caption
from synthvlm_miniature.world.scenes import COLOURS, SHAPES, sample_scene


@given(st.integers(0, 2**32 - 1), st.sampled_from(STYLES), st.sampled_from(["varied", "full"]))
@settings(max_examples=150, deadline=None)
def test_a_caption_names_every_thing_and_no_other(seed: int, style: Style, detail: Detail) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    text = caption(scene, rng, style, detail).lower()
    pairs = set(re.findall(rf"({'|'.join(COLOURS)}) ({'|'.join(SHAPES)})", text))
    assert pairs == {(thing.colour, thing.shape) for thing in scene.things}


@pytest.mark.parametrize("style", STYLES)
def test_full_captions_of_different_scenes_differ(style: Style) -> None:
    rng = np.random.default_rng(5)
    told: dict[str, str] = {}
    for _ in range(1500):
        scene = sample_scene(rng)
        text = caption(scene, rng, style, "full")
        assert told.setdefault(text, scene.description) == scene.description


def test_plain_captions_have_few_words_and_are_short() -> None:
    rng = np.random.default_rng(2)
    lines = [re.findall(r"\w+|[^\w\s]", caption(sample_scene(rng), rng).lower()) for _ in range(2000)]
    assert max(map(len, lines)) <= 34
    assert len({word for line in lines for word in line}) <= 150
