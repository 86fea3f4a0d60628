"""Verdicts: closed bounds, NaN, the first rule, and histograms, on values that the test chooses."""

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.captions.measured import Values
from synthvlm_core.captions.merged import Captions
from synthvlm_core.captions.verdicts import HISTOGRAM_BINS, Verdicts
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.store import sql
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.records import Column, Table
from synthvlm_core.store.shards import DamagedShard
from synthvlm_core.store.sql import Scratch


class Between(Rule):
    """A rule on a chosen statistic with chosen bounds."""

    rule: Literal["between"]
    low: float | None
    high: float | None

    def bounds(self) -> Bounds:
        return Bounds(self.low, self.high)

    def measurement(self, context: CaptionContext) -> Measurement:
        raise NotImplementedError


class First(Between):
    """A rule on the first statistic."""

    statistic = "first"


class Second(Between):
    """A rule on the second statistic."""

    rule: Literal["second"]  # type: ignore[assignment]
    statistic = "second"


def first(low: float | None = None, high: float | None = None) -> Rule:
    return First(rule="between", low=low, high=high)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    with sql.scratch() as found:
        yield found


NAMES = [f"{number:032x}" for number in range(1000)]


class Case:
    """Captions 0, 1, 2, … of which nothing is judged yet."""

    def __init__(self, scratch: Scratch, count: int) -> None:
        ids = pa.table({"caption_id": NAMES[:count]})
        self.scratch, self.captions = scratch, Captions(count, lambda columns: iter([ids.select(list(columns))]))
        self.found = Verdicts(scratch, self.captions)

    def judge(self, rules: list[Rule], names: list[str], **columns: list[float]) -> None:
        """Judge captions by chosen values."""
        table = Table(
            "values", 1, "caption_id", tuple(Column(name, pa.float64(), "") for name in ("caption_id", *columns))
        )
        measurement = Measurement(table, "d", _unused)
        values = Values(self.scratch, self.captions, measurement, self.found.open())
        values.take(lambda: iter([pa.table({"caption_id": names, **columns})]))
        self.found.judge("family", rules, values)

    def told(self) -> list[dict[str, Any]]:
        """One row per caption: rule, value and threshold, null where it passed."""
        reasons = (row for part in self.found.reasons() for row in part.to_pylist())
        passed = {"rule": None, "value": None, "threshold": None}
        return [next(reasons) if broken else passed for broken in self.found.broken()]


def _unused() -> Measure:
    raise AssertionError("nothing is measured here")


def judged(scratch: Scratch, rules: list[Rule], **columns: list[float]) -> list[dict[str, Any]]:
    """One row per caption: rule, value and threshold, null where it passed."""
    count = len(next(iter(columns.values())))
    case = Case(scratch, count)
    case.judge(rules, NAMES[:count], **columns)
    return case.told()


def passing(scratch: Scratch, rule: Rule, values: list[float]) -> list[bool]:
    return [row["rule"] is None for row in judged(scratch, [rule], first=values)]


BELOW, ABOVE = math.nextafter(0.6, 0), math.nextafter(0.6, 1)


@pytest.mark.parametrize(
    ("low", "high", "passes"),
    [
        (0.6, None, [False, True, True]),
        (None, 0.6, [True, True, False]),
        (0.6, 0.6, [False, True, False]),
        (None, None, [True, True, True]),
    ],
)
def test_bounds_are_closed_to_the_last_bit(
    scratch: Scratch, low: float | None, high: float | None, passes: list[bool]
) -> None:
    assert passing(scratch, first(low, high), [BELOW, 0.6, ABOVE]) == passes


@pytest.mark.parametrize(("low", "high"), [(0.6, None), (None, 0.6), (0.0, 1.0), (None, None), (-1e308, 1e308)])
def test_nan_passes_nowhere(scratch: Scratch, low: float | None, high: float | None) -> None:
    assert passing(scratch, first(low, high), [math.nan, 0.6]) == [False, True]


def test_infinity_breaks_the_bound_on_its_side(scratch: Scratch) -> None:
    values = [math.inf, -math.inf]
    assert passing(scratch, first(0.0, None), values) == [True, False]
    assert passing(scratch, first(None, 0.0), values) == [False, True]


@given(
    values=st.lists(st.floats(), min_size=1, max_size=8),
    low=st.none() | st.floats(allow_nan=False, allow_infinity=False),
    high=st.none() | st.floats(allow_nan=False, allow_infinity=False),
)
def test_a_value_passes_exactly_between_its_bounds(
    scratch: Scratch, values: list[float], low: float | None, high: float | None
) -> None:
    expected = [
        not math.isnan(value) and (low is None or value >= low) and (high is None or value <= high) for value in values
    ]
    assert passing(scratch, first(low, high), values) == expected


def test_the_reason_names_the_bound_beyond_which_the_value_lies(scratch: Scratch) -> None:
    rows = judged(scratch, [first(0.2, 0.4)], first=[0.1, 0.3, 0.5])
    assert [(row["rule"], row["value"], row["threshold"]) for row in rows] == [
        ("between", 0.1, 0.2),
        (None, None, None),
        ("between", 0.5, 0.4),
    ]
    [row] = judged(scratch, [first(0.2, None)], first=[0.1])
    assert row["threshold"] == 0.2


def test_of_several_broken_rules_the_first_is_told(scratch: Scratch) -> None:
    one, other = first(0.5, None), Second(rule="second", low=None, high=0.5)
    columns = {"first": [0.1, 0.9, 0.1, 0.9], "second": [0.9, 0.9, 0.1, 0.1]}
    assert [row["rule"] for row in judged(scratch, [one, other], **columns)] == ["between", "second", "between", None]
    assert [row["rule"] for row in judged(scratch, [other, one], **columns)] == ["second", "second", "between", None]


def test_the_next_family_judges_what_the_one_before_left(scratch: Scratch) -> None:
    case = Case(scratch, 3)
    case.judge([first(0.5, None)], NAMES[:3], first=[0.1, 0.9, 0.9])
    assert case.found.open().tolist() == [False, True, True]
    case.judge([Second(rule="second", low=None, high=0.5)], NAMES[:3], first=[0, 0, 0], second=[0.9, 0.9, 0.1])
    assert case.found.counts() == {
        "rows": 3,
        "captions": 3,
        "merged": 0,
        "kept": 1,
        "rejected": 2,
        "rejected_by_rule": {"between": 1, "second": 1},
    }


def test_a_lost_value_is_an_error_and_not_a_verdict(scratch: Scratch) -> None:
    with pytest.raises(DamagedShard, match="measurements of family were lost while they were read; run again"):
        Case(scratch, 2).judge([first(0.5, None)], NAMES[:1], first=[0.9])


def histogram(scratch: Scratch, values: list[float], rule: Rule) -> dict[str, Any]:
    case = Case(scratch, len(values))
    case.judge([rule], NAMES[: len(values)], first=values)
    return case.found.histograms()["first"]


@pytest.mark.parametrize(("smallest", "logarithmic"), [(0.0005, True), (0.05, False), (0.0, False)])
def test_bins_over_many_powers_of_ten_are_equal_on_a_logarithmic_scale(
    scratch: Scratch, smallest: float, logarithmic: bool
) -> None:
    found = histogram(scratch, [smallest, 0.8, 0.8, 0.8], first(0.6, None))
    edges = np.array(found["edges"])
    steps = np.diff(np.log(edges)) if logarithmic else np.diff(edges)
    assert steps == pytest.approx(np.full(len(steps), steps.mean()))
    assert [edges[0], edges[-1]] == pytest.approx([smallest, 0.8])
    assert (found["rejected"][0], found["kept"][-1]) == (1, 3)


def test_a_histogram_counts_every_finite_value_once(scratch: Scratch) -> None:
    values = [*np.linspace(0.0, 1.0, 201), math.nan, math.inf]
    found = histogram(scratch, values, first(0.5, None))
    assert len(found["edges"]) == HISTOGRAM_BINS + 1
    assert (sum(found["kept"]), sum(found["rejected"])) == (101, 100)
    assert histogram(scratch, [math.nan], first(0.5, None)) == {
        "edges": [],
        "kept": [],
        "rejected": [],
        "elsewhere": [],
    }
    one = histogram(scratch, [0.7], first(0.5, None))
    assert sum(one["kept"]) == 1
    assert one["edges"] == sorted(set(one["edges"]))
