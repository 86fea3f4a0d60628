"""What looking at some of many is worth."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.findings import DAMAGE, Sample


@given(
    total=st.integers(0, 5000),
    share=st.floats(0.0, 1.0),
    least=st.integers(0, 600),
)
def test_the_power_is_that_of_drawing_without_replacement(total: int, share: float, least: int) -> None:
    sample = Sample(total, share, least)
    bad = math.ceil(DAMAGE * total)
    missed = math.comb(total - bad, sample.size) / math.comb(total, sample.size) if total and bad else 0.0
    assert sample.power == pytest.approx(1.0 - missed if total else 1.0, abs=1e-9)


@pytest.mark.parametrize(
    ("total", "share", "least", "size"),
    [(0, 0.01, 500, 0), (54, 0.01, 500, 54), (600, 0.01, 500, 500), (100_000, 0.01, 500, 1000), (600, 1.0, 500, 600)],
)
def test_a_few_hundred_at_least_then_a_share_and_all_on_demand(total: int, share: float, least: int, size: int) -> None:
    assert Sample(total, share, least).size == size


def test_it_tells_its_power() -> None:
    assert Sample(54, 0.01, 500).told("images") == "all 54 images"
    told = Sample(3289, 0.01, 500).told("images")
    assert told.startswith("500 of 3,289 images, which meets damage of 1% of them with a probability of 99.6%")
    assert "checks.share of the recipe" in told
