"""What a table of scores looks like as a whole: means, quantiles, histograms, and the weighted score as SQL.

Belongs here: numbers about many scores. Does not belong here: what must hold for them (selection/thresholds.py).
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import sql
from synthvlm_core.store.sql import Relation, Scratch

QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
HISTOGRAM_BINS = 50
BATCH_ROWS = 100_000


def weighted(weights: Mapping[str, float]) -> str:
    """SQL for the weighted score: products in the order of the scores' names, added from the left, in doubles."""
    return " + ".join(f"{sql.number(weights[score])} * {score}" for score in sorted(weights))


def expressions(recipe: Recipe) -> dict[str, str]:
    """SQL for every score of the recipe, the weighted one last, under the selection's weights."""
    return {**{score.column: score.column for score in recipe.scores}, WEIGHTED: weighted(recipe.selection.weights)}


def mean(scratch: Scratch, rows: Relation | str, value: str) -> float | None:
    """Mean of the finite values of an SQL expression, None if there are none.

    The sum is rounded once, so that neither order nor shards nor threads can show in it and tip a threshold.
    """
    count = 0

    def values() -> Iterator[float]:
        nonlocal count
        for part in scratch.tables(f"select {value} as value from {rows} where isfinite({value})", rows=BATCH_ROWS):
            count += part.num_rows
            yield from part["value"].to_pylist()

    total = math.fsum(values())
    return total / count if count else None


def of(scratch: Scratch, rows: Relation, values: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Statistics of scores.

    Args:
        rows: a table of scores. What is not finite is left out.
        values: by score, an SQL expression.

    Returns:
        {score: {"mean", "minimum", "maximum", "quantiles": {share: score}, "histogram": {"edges", "counts"}}}. Bins
        are equal over the range, with one more edge than counts; without rows all numbers are None, lists are empty.
    """
    return {score: _of(scratch, rows, value) for score, value in values.items()}


def _of(scratch: Scratch, rows: Relation, value: str) -> dict[str, Any]:
    average = mean(scratch, rows, value)
    if average is None:
        return {
            "mean": None,
            "minimum": None,
            "maximum": None,
            "quantiles": dict.fromkeys(map(str, QUANTILES)),
            "histogram": {"edges": [], "counts": []},
        }
    finite = f"(select {value} as value from {rows} where isfinite({value}))"
    low, high, quantiles = scratch.row(
        f"select min(value), max(value), quantile_disc(value, {list(QUANTILES)}) from {finite}"
    )
    width = (high - low) / HISTOGRAM_BINS or 1.0
    found = scratch.rows(
        f"""
        select least(floor((value - ?) / ?), ?)::integer as bin, count(*)
        from {finite}
        group by bin
        """,
        [low, width, HISTOGRAM_BINS - 1],
    )
    counts = [0] * HISTOGRAM_BINS
    for number, count in found:
        counts[number] = count
    return {
        "mean": average,
        "minimum": low,
        "maximum": high,
        "quantiles": {str(share): found for share, found in zip(QUANTILES, quantiles, strict=True)},
        "histogram": {"edges": [low + width * i for i in range(HISTOGRAM_BINS + 1)], "counts": counts},
    }
