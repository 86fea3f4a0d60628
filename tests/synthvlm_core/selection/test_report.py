"""What is told of a selection: numbers that add up, and why there are too few pairs."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.selection.selection import TooFewPairs

from .conftest import Pair, Pool, pair, select

Make = Callable[..., Recipe]


def by_source(rows: list[Pair], recipe: Recipe) -> list[Pool]:
    names = dict.fromkeys(row["source"] for row in rows)
    return [Pool(name, [row for row in rows if row["source"] == name], recipe) for name in names]


@given(
    values=st.lists(st.floats(0, 1) | st.sampled_from([0.1, 1e-17, 1e16]), min_size=2, max_size=30),
    size=st.integers(1, 30),
)
def test_means_are_exact_sums_rounded_once(chosen_by: Make, values: list[float], size: int) -> None:
    recipe = chosen_by(size=min(size, len(values)))
    rows = [pair("ab"[n % 2], n, clip=value, ssim=1 / (n + 3)) for n, value in enumerate(values)]
    found, report = select(by_source(rows, recipe), recipe)
    for name in ("clip", "ssim", WEIGHTED):
        assert report["means"][name] == math.fsum(row[name] for row in found) / len(found)
        for source, told in report["sources"].items():
            own = [row[name] for row in found if row["source"] == source]
            assert told["means"][name] == (math.fsum(own) / len(own) if own else None)


def test_numbers_add_up(chosen_by: Make) -> None:
    recipe = chosen_by(size=4, floor={"ssim": 0.5}, source_thresholds={"mean": {"clip": 0.2}})
    rows = [
        *[pair("a", n // 2, n % 2, clip=n / 10, ssim=0.9) for n in range(8)],  # four captions
        *[pair("b", n, clip=0.3, ssim=0.4 + n / 10) for n in range(5)],  # one below the floor
        *[pair("c", n, clip=0.1, ssim=0.9) for n in range(3)],  # fails its threshold
    ]
    found, report = select(by_source(rows, recipe), recipe)
    assert (report["pairs"], report["available"], report["size"], report["by"]) == (16, 8, 4, "weighted_score")
    numbers = {
        name: [told[key] for key in ("passed", "pairs", "below_floor", "captions", "available", "selected")]
        for name, told in report["sources"].items()
    }
    assert numbers == {
        "a": [True, 8, 0, 4, 4, 3],
        "b": [True, 5, 1, 4, 4, 1],
        "c": [False, 3, 0, 3, 0, 0],
    }
    assert (report["spec"], report["image_definition"]) == ("spec", "images")
    assert report["threshold_score"] == found[-1][WEIGHTED] == 0.3 + 0.5 * 0.8
    assert report["next_score"] == 0.3 + 0.5 * (0.4 + 3 / 10)
    assert report["sources"]["c"]["numbers"]["mean_clip"] == pytest.approx(0.1)


def test_nothing_comes_next_where_all_is_taken(chosen_by: Make) -> None:
    recipe = chosen_by()
    _, report = select([Pool("a", [pair("a", n, clip=0.1, ssim=0.5) for n in range(2)], recipe)], recipe)
    assert report["next_score"] is None
    assert report["threshold_score"] == 0.35


def test_too_few_says_how_many_and_why(chosen_by: Make) -> None:
    recipe = chosen_by(size=5, floor={"ssim": 0.5}, source_thresholds={"mean": {"clip": 0.36}})
    good = [pair("good", n // 2, n % 2, clip=0.4, ssim=0.9 if n > 1 else 0.1) for n in range(8)]
    bad = [pair("bad", n, clip=0.1, ssim=0.8) for n in range(5)]
    with pytest.raises(TooFewPairs) as raised:
        select([*by_source(good + bad, recipe), Pool("none", [], recipe)], recipe)
    message = str(raised.value)
    assert "5 pairs are wanted, 3 can be taken" in message
    assert "good: 3 of 8; 2 lie below the floor, 3 are further images of a caption" in message
    assert "bad: 0 of 5, since the source fails the recipe's thresholds: mean clip 0.1000 is below 0.36" in message
    assert "none: 0 of 0, since the source fails the recipe's thresholds" in message
    assert "Lower selection.size, selection.floor or selection.source_thresholds, or add captions." in message
