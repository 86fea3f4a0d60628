"""What a pair and a source must reach: closed bounds, and no way past them for what is no number."""

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.errors import NotMaterialized
from synthvlm_core.findings import Finding
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scored import score_columns
from synthvlm_core.selection import thresholds
from synthvlm_core.store import records, sql
from synthvlm_core.store.objects import Store

from .conftest import Edit, Pair, Pool, pair, stages

Make = Callable[..., Recipe]


def verify(rows: list[Pair], recipe: Recipe) -> Finding:
    with sql.scratch() as scratch:
        schema = records.scored_pairs(score_columns(recipe)).schema
        return thresholds.verify(scratch, scratch.load(schema, Pool("laion", rows, recipe).pairs()), recipe, "laion")


def above(rows: list[Pair], recipe: Recipe) -> list[bool]:
    """Of every pair, whether it lies nowhere below the floor."""
    with sql.scratch() as scratch:
        schema = records.scored_pairs(score_columns(recipe)).schema
        pairs = scratch.load(schema, Pool("a", rows, recipe).pairs())
        found = dict(scratch.rows(f"select image_id, {thresholds.above(recipe)} from {pairs}"))
    return [found[row["image_id"]] for row in rows]


@pytest.mark.parametrize("bound", [0.3, 0.30000000000000004, 0.1, 1 / 3, -0.25, 0.0])
def test_the_floor_is_closed(chosen_by: Make, bound: float) -> None:
    recipe = chosen_by(floor={"clip": bound})
    values = [bound, math.nextafter(bound, 9), math.nextafter(bound, -9)]
    rows = [pair("a", n, clip=value, ssim=0.5) for n, value in enumerate(values)]
    assert above(rows, recipe) == [True, True, False]


def test_the_floor_of_the_weighted_score_is_closed(chosen_by: Make) -> None:
    recipe = chosen_by(floor={WEIGHTED: 0.3 + 0.5 * 0.8})
    rows = [pair("a", n, clip=clip, ssim=0.8) for n, clip in enumerate([0.3, 0.31, 0.29])]
    assert above(rows, recipe) == [True, True, False]


@given(
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    score=st.sampled_from(["clip", "ssim"]),
    floor=st.dictionaries(st.sampled_from(["clip", "ssim", WEIGHTED]), st.sampled_from([-1e300, 0.0, 0.5])),
)
def test_what_is_no_number_passes_no_floor(chosen_by: Make, value: float, score: str, floor: dict[str, float]) -> None:
    """Where a database sorts NaN above all numbers, it is at least any bound."""
    recipe = chosen_by(floor=floor)
    row = {**pair("a", 0, clip=0.9, ssim=0.9), score: value}
    assert above([row, pair("a", 1, clip=0.9, ssim=0.9)], recipe) == [False, True]


@given(
    value=st.sampled_from([math.nan, math.inf, -math.inf]),
    score=st.sampled_from(["clip", "ssim"]),
    bounds=st.sampled_from([{}, {"mean": {"clip": 0.1}}, {"mean": {WEIGHTED: 0.1}}, {"share_above_floor": 0.5}]),
)
def test_a_source_with_what_is_no_number_fails(
    chosen_by: Make, value: float, score: str, bounds: dict[str, object]
) -> None:
    recipe = chosen_by(source_thresholds=bounds)
    rows = [pair("a", 0, clip=0.9, ssim=0.9), {**pair("a", 1, clip=0.9, ssim=0.9), score: value}]
    finding = verify(rows, recipe)
    assert not finding.passed
    assert "1 of 2 pairs have a score that is not finite" in finding.summary
    assert finding.numbers["not_finite"] == 1
    assert finding.numbers["share_above_floor"] == 0.5


@pytest.mark.parametrize("values", [[0.422], [0.422] * 3, [0.1, 0.2, 0.3], [1e15, 0.1, -1e15]])
def test_a_mean_that_is_exactly_the_threshold_is_enough(chosen_by: Make, values: list[float]) -> None:
    rows = [pair("a", n, clip=value, ssim=0.5) for n, value in enumerate(values)]
    mean = math.fsum(values) / len(values)
    assert verify(rows, chosen_by(source_thresholds={"mean": {"clip": mean}})).passed
    missed = verify(rows, chosen_by(source_thresholds={"mean": {"clip": math.nextafter(mean, math.inf)}}))
    assert not missed.passed
    assert missed.numbers["mean_clip"] == mean


def test_a_share_that_is_exactly_the_threshold_is_enough(chosen_by: Make) -> None:
    rows = [pair("a", n, clip=n / 10, ssim=0.5) for n in range(8)]
    floor = {"clip": 0.3}  # of eight pairs three are below, and one is just there
    assert verify(rows, chosen_by(floor=floor, source_thresholds={"share_above_floor": 0.625})).passed
    assert not verify(rows, chosen_by(floor=floor, source_thresholds={"share_above_floor": 0.626})).passed


def test_every_number_is_told(chosen_by: Make) -> None:
    recipe = chosen_by(floor={"clip": 0.2}, source_thresholds={"share_above_floor": 0.5, "mean": {"ssim": 0.6}})
    finding = verify([pair("a", n, clip=n / 10, ssim=0.5) for n in range(4)], recipe)
    assert not finding.passed
    assert finding.summary == "mean ssim 0.5000 is below 0.6"
    assert finding.numbers == {
        "pairs": 4,
        "not_finite": 0,
        "mean_clip": math.fsum([0.0, 0.1, 0.2, 0.3]) / 4,
        "mean_ssim": 0.5,
        "mean_weighted_score": math.fsum([0.25, 0.1 + 0.25, 0.2 + 0.25, 0.3 + 0.25]) / 4,
        "share_above_floor": 0.5,
        "mean_ssim_threshold": 0.6,
        "share_above_floor_threshold": 0.5,
    }


def test_a_source_without_pairs_fails_unless_the_recipe_allows_it(chosen_by: Make) -> None:
    finding = verify([], chosen_by())
    assert not finding.passed
    assert finding.summary == "there are no pairs; if that is meant, name the source in selection.may_be_empty"
    bounds = {"mean": {"clip": -9.0}, "share_above_floor": 0.5}
    allowed = verify([], chosen_by(source_thresholds=bounds, may_be_empty=["laion"]))
    assert allowed.passed
    assert allowed.summary == "there are no pairs, as the recipe allows"


def test_a_source_of_which_nothing_can_be_taken_is_as_good_as_empty(chosen_by: Make) -> None:
    rows = [pair("a", n, clip=0.1, ssim=0.5) for n in range(3)]
    finding = verify(rows, chosen_by(floor={"clip": 0.2}))
    assert not finding.passed
    assert finding.summary.startswith("none of 3 pairs can be taken; if that is meant")
    assert verify(rows, chosen_by(floor={"clip": 0.2}, may_be_empty=["laion"])).passed


def test_thresholds_may_differ_by_source(chosen_by: Make) -> None:
    """What a source's own thresholds do not name is asked of it as of every other."""
    own = {"laion": {"mean": {"clip": 0.4}, "share_above_floor": 0.1}, "cc": {"mean": {"clip": 0.9}}}
    recipe = chosen_by(source_thresholds={"mean": {"clip": 0.2, "ssim": 0.5}, "by_source": own})
    rows = [pair("a", n, clip=0.3, ssim=0.5) for n in range(2)]
    finding = verify(rows, recipe)
    assert finding.summary == "mean clip 0.3000 is below 0.4"
    assert {name: value for name, value in finding.numbers.items() if name.endswith("_threshold")} == {
        "mean_clip_threshold": 0.4,
        "mean_ssim_threshold": 0.5,
        "share_above_floor_threshold": 0.1,
    }


@pytest.mark.parametrize("score", ["ssim", "colourfulness", WEIGHTED])
def test_a_stored_source_below_a_mean(scored: Store, painted: Recipe, edited: Edit, score: str) -> None:
    laion, _ = stages(scored, painted)
    mean = thresholds.verify_source(laion).numbers[f"mean_{score}"]
    assert isinstance(mean, float)
    for bound, passes in ((mean, True), (math.nextafter(mean, 999), False)):
        stage, _ = stages(scored, edited(painted, {"selection.source_thresholds": {"mean": {score: bound}}}))
        finding = thresholds.verify_source(stage)
        assert finding.passed is passes
        assert f"mean {score.replace('_', ' ')}" in finding.summary


def test_a_stored_source_below_its_share(scored: Store, painted: Recipe, edited: Edit) -> None:
    laion, _ = stages(scored, painted)
    floor = {"ssim": laion.statistics["ssim"]["quantiles"]["0.5"]}  # the fourth of eight: five are not below
    for share, passes in ((0.625, True), (0.626, False)):
        bounds = {"share_above_floor": share}
        stage, _ = stages(scored, edited(painted, {"selection.floor": floor, "selection.source_thresholds": bounds}))
        assert thresholds.verify_source(stage).passed is passes


def test_a_source_without_scores_is_told(scored: Store, painted: Recipe, edited: Edit) -> None:
    stage, _ = stages(scored, edited(painted, {"scores.ssim.window": 9}))
    with pytest.raises(NotMaterialized, match="materialize scored_pairs first"):
        thresholds.verify_source(stage)
