"""Numbers about many scores, against their definitions."""

import itertools
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.recipe import loading
from synthvlm_core.scoring import summary
from synthvlm_core.store import sql
from synthvlm_core.store.sql import Relation, Scratch

SCHEMA = pa.schema([pa.field("value", pa.float64())])


def table(scratch: Scratch, values: list[float], cuts: tuple[int, ...] = ()) -> Relation:
    """The values in a relation, put there in several parts."""
    edges = [0, *sorted(min(cut, len(values)) for cut in cuts), len(values)]
    parts = (pa.table({"value": pa.array(values[a:b], pa.float64())}) for a, b in itertools.pairwise(edges))
    return scratch.load(SCHEMA, parts)


def of(values: list[float]) -> dict[str, Any]:
    with sql.scratch() as scratch:
        return summary.of(scratch, table(scratch, values), {"score": "value"})["score"]


@given(
    values=st.lists(st.floats(-1e6, 1e6) | st.sampled_from([0.1, 1e-9, 1e15, -1e15]), max_size=60),
    broken=st.lists(st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3),
    cuts=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    order=st.randoms(use_true_random=False),
)
def test_the_mean_is_the_exact_sum_rounded_once(
    values: list[float], broken: list[float], cuts: tuple[int, ...], order: Any
) -> None:
    shuffled = order.sample([*values, *broken], len(values) + len(broken))
    with sql.scratch() as scratch:
        found = summary.mean(scratch, table(scratch, shuffled, cuts), "value")
    assert found == (math.fsum(values) / len(values) if values else None)


@pytest.mark.parametrize("value", [0.422, 0.1, 1 / 3, 0.7000000000000001])
@pytest.mark.parametrize("times", [1, 2, 4])
def test_the_mean_of_equal_values_is_the_value(value: float, times: int) -> None:
    with sql.scratch() as scratch:
        assert summary.mean(scratch, table(scratch, [value] * times), "value") == value


def test_quantiles_and_histogram() -> None:
    values = np.random.default_rng(0).normal(size=500)
    found = of(values.tolist())
    assert found["mean"] == math.fsum(values) / 500
    assert (found["minimum"], found["maximum"]) == (values.min(), values.max())
    for share in summary.QUANTILES:
        assert found["quantiles"][str(share)] == np.quantile(values, share, method="inverted_cdf")
    edges, counts = found["histogram"]["edges"], found["histogram"]["counts"]
    assert len(edges) == 51
    assert np.histogram(values, edges)[0].tolist() == counts
    assert sum(counts) == 500


def test_one_value_has_a_histogram_too() -> None:
    found = of([0.3, 0.3])
    assert (found["minimum"], found["maximum"]) == (0.3, 0.3)
    assert found["histogram"]["counts"] == [2] + [0] * 49


def test_what_is_not_finite_is_left_out() -> None:
    assert of([0.1, math.nan, 0.7, math.inf, -math.inf]) == of([0.1, 0.7])


@pytest.mark.parametrize("values", [[], [math.nan]])
def test_without_rows_there_are_no_numbers(values: list[float]) -> None:
    found = of(values)
    assert found["mean"] is found["minimum"] is found["maximum"] is found["quantiles"]["0.5"] is None
    assert found["histogram"] == {"edges": [], "counts": []}


@given(
    scores=st.tuples(*[st.floats(-10, 10)] * 3),
    weights=st.dictionaries(st.sampled_from(["first", "second", "third"]), st.floats(-4, 4), min_size=1),
)
def test_the_weighted_score_is_the_sum_in_the_order_of_names(
    scores: tuple[float, ...], weights: dict[str, float]
) -> None:
    row = dict(zip(["first", "second", "third"], scores, strict=True))
    products = [weights[name] * row[name] for name in sorted(weights)]
    expected = products[0]
    for product in products[1:]:
        expected += product
    with sql.scratch() as scratch:
        relation = scratch.create(pa.table({name: [value] for name, value in row.items()}))
        assert scratch.row(f"select {summary.weighted(weights)} from {relation}") == (expected,)


def test_every_score_of_a_recipe_is_told_and_the_weighted_one_last() -> None:
    found = summary.expressions(loading.load("miniature"))
    assert list(found) == ["clip_score", "ssim", "weighted_score"]
    assert found["weighted_score"] == "1.0::double * clip_score + 0.5::double * ssim"
