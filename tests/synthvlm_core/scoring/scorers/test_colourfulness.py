"""Colourfulness against the formula of its authors, worked out pixel by pixel and by hand."""

import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_clip import picture

from synthvlm_core.parts.part import Context
from synthvlm_core.scoring.scorers.colourfulness import Colourfulness

SCORER = Colourfulness(score="colourfulness").load(Context(folder="", seed=0, threads=1))


def m3(image: Image.Image) -> float:
    """sqrt(s_rg^2 + s_yb^2) + 0.3 * sqrt(m_rg^2 + m_yb^2)."""
    pixels = np.asarray(image).reshape(-1, 3).astype(int).tolist()
    rg = [float(red - green) for red, green, _ in pixels]
    yb = [0.5 * (red + green) - blue for red, green, blue in pixels]
    spread = math.sqrt(statistics.pvariance(rg) + statistics.pvariance(yb))
    return spread + 0.3 * math.sqrt(statistics.fmean(rg) ** 2 + statistics.fmean(yb) ** 2)


@given(seed=st.integers(0, 1000), width=st.integers(1, 12), height=st.integers(1, 12))
def test_equals_the_formula(seed: int, width: int, height: int) -> None:
    image = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))
    assert SCORER([image], [""])[0] == pytest.approx(m3(image), abs=1e-9)


def test_by_hand() -> None:
    grey, red = Image.new("RGB", (8, 5), (77, 77, 77)), Image.new("RGB", (8, 5), (255, 0, 0))
    halves = Image.new("RGB", (8, 5), (255, 0, 0))
    halves.paste((0, 255, 0), (0, 0, 4, 5))
    found = SCORER([grey, red, halves], ["", "", ""])
    # red: rg 255, yb 127.5; half red, half green: rg 255 and -255, yb 127.5 everywhere
    assert found == pytest.approx([0.0, 0.3 * math.hypot(255, 127.5), 255 + 0.3 * 127.5])
    assert found[0] == 0.0


def test_captions_and_neighbours_do_not_matter() -> None:
    images = [picture(number) for number in range(4)]
    together = SCORER(images, ["a", "b", "c", "d"])
    assert together.dtype == np.float64
    assert [SCORER([image], [""])[0] for image in images] == together.tolist()
    assert SCORER([], []).shape == (0,)


def test_more_saturated_is_more_colourful() -> None:
    image = picture(3)
    faded = Image.blend(image, image.convert("L").convert("RGB"), 0.5)
    found = SCORER([image, faded, image.convert("L").convert("RGB")], ["", "", ""])
    assert found[0] > found[1] > found[2] == 0.0
