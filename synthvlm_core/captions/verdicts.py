"""Verdicts on captions, in a scratch database: which caption broke which rule first.

Belongs here: bounds as SQL, the first broken rule, counts and histograms. Does not belong here: measuring (engine.py),
what is stored (filtered.py).
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from synthvlm_core.parts.rule import Rule
from synthvlm_core.store import sql
from synthvlm_core.store.shards import DamagedShard
from synthvlm_core.store.sql import Relation, Scratch

HISTOGRAM_BINS = 50
_BROKEN = pa.schema(
    [
        pa.field("caption_id", pa.string()),
        pa.field("rule", pa.string()),
        pa.field("value", pa.float64()),
        pa.field("threshold", pa.float64()),
    ]
)


class Verdicts:
    """Captions of a source and what was found out about them so far."""

    def __init__(self, scratch: Scratch, captions: Relation) -> None:
        """`captions` has one row per caption id: caption_id, text, origin, source, duplicates, place."""
        self._scratch, self._captions = scratch, captions
        self._broken = scratch.load(_BROKEN, [])
        self._judged: list[tuple[Rule, Relation]] = []

    def open(self) -> Relation:
        """The captions that broke no rule yet whenever it is read: caption_id and text."""
        return self._scratch.view(
            f"select caption_id, text from {self._captions} anti join {self._broken} using (caption_id)"
        )

    def judge(self, family: str, rules: Sequence[Rule], values: Relation, *, partly: bool = False) -> None:
        """Note the captions that break one of some rules: the first such rule, value and bound.

        Args:
            values: one row per open caption, a column for each rule's statistic.
            partly: whether values may be missing; a caption without one breaks nothing.

        Raises:
            DamagedShard: if a value is missing, as where another run moved a shard meanwhile.
        """
        left = f"(select * from {self._captions} anti join {self._broken} using (caption_id))"
        if not partly and self._scratch.count(values) != self._scratch.count(left):
            raise DamagedShard(f"measurements of {family} were lost while they were read; run again")
        cases = "\n".join(
            f"when {breaks(rule)} then {{'rule': '{rule.kind_name}', 'value': {rule.statistic},"
            f" 'threshold': {_bound(rule)}}}"
            for rule in rules
        )
        found = self._scratch.create(
            f"""
            select caption_id, first.rule as rule, first.value as value, first.threshold as threshold
            from (select caption_id, case {cases} end as first from {values})
            where first is not null
            """
        )
        self._scratch.connection.execute(f"insert into {self._broken} select * from {found}")
        self._scratch.drop(found)
        self._judged += [(rule, values) for rule in rules]

    def rows(self, columns: Sequence[str], *, rejected: bool, rows: int) -> Iterator[pa.Table]:
        """One side of the verdicts, in the order of the input."""
        return self._scratch.tables(
            f"""
            select {", ".join(columns)}
            from {self._captions} left join {self._broken} using (caption_id)
            where rule is {"not null" if rejected else "null"}
            order by place
            """,
            rows=rows,
        )

    def counts(self, rules: Sequence[str]) -> dict[str, Any]:
        """Rows, captions, merged, kept, rejected, and how many each rule rejected."""
        rows, captions, kept = self._scratch.row(
            f"""
            select coalesce(sum(duplicates), 0)::bigint, count(*), count(*) filter (where rule is null)
            from {self._captions} left join {self._broken} using (caption_id)
            """
        )
        by_rule = dict(self._scratch.rows(f"select rule, count(*) from {self._broken} group by rule"))
        return {
            "rows": rows,
            "captions": captions,
            "merged": rows - captions,
            "kept": kept,
            "rejected": captions - kept,
            "rejected_by_rule": {rule: by_rule.get(rule, 0) for rule in rules},
        }

    def histograms(self) -> dict[str, dict[str, Any]]:
        """By statistic, equal bins over its range: `edges` has one more entry than `kept` and `rejected`.

        Over more than three powers of ten, as perplexities go, the bins are equal on a logarithmic scale.
        """
        return {rule.statistic: self._histogram(rule.statistic, values) for rule, values in self._judged}

    def _histogram(self, value: str, values: Relation) -> dict[str, Any]:
        finite = f"where isfinite({value})"
        low, high = self._scratch.row(f"select min({value}), max({value}) from {values} {finite}")
        if low is None:
            return {"edges": [], "kept": [], "rejected": []}
        logarithmic = low > 0 and high > 1000 * low
        if logarithmic:
            low, high, value = math.log10(low), math.log10(high), f"log10({value})"
        width = (high - low) / HISTOGRAM_BINS or 1.0 / HISTOGRAM_BINS
        counts = self._scratch.rows(
            f"""
            select
                greatest(least(floor(({value} - ?) / ?), ?), 0)::integer as bin,
                count(*) filter (where rule is null),
                count(*) filter (where rule is not null)
            from {values} left join {self._broken} using (caption_id)
            {finite}
            group by bin
            """,
            [low, width, HISTOGRAM_BINS - 1],
        )
        kept, rejected = [0] * HISTOGRAM_BINS, [0] * HISTOGRAM_BINS
        for bin_number, kept_count, rejected_count in counts:
            kept[bin_number], rejected[bin_number] = kept_count, rejected_count
        edges = [low + width * i for i in range(HISTOGRAM_BINS + 1)]
        return {"edges": [10**edge for edge in edges] if logarithmic else edges, "kept": kept, "rejected": rejected}


def breaks(rule: Rule) -> str:
    """SQL that is true where a caption breaks the rule. NaN breaks every bound."""
    bounds = rule.bounds()
    sides = []
    if bounds.minimum is not None:
        sides.append(f"not ({rule.statistic} >= {sql.number(bounds.minimum)})")
    if bounds.maximum is not None:
        sides.append(f"not ({rule.statistic} <= {sql.number(bounds.maximum)})")
    return "(" + " or ".join([*sides, f"isnan({rule.statistic})"]) + ")"


def _bound(rule: Rule) -> str:
    """SQL for the bound that a caption breaking the rule lies beyond."""
    bounds = rule.bounds()
    if bounds.minimum is None or bounds.maximum is None:
        bound = bounds.maximum if bounds.minimum is None else bounds.minimum
        return "null" if bound is None else sql.number(bound)
    low, high = sql.number(bounds.minimum), sql.number(bounds.maximum)
    return f"(case when {rule.statistic} < {low} then {low} else {high} end)"
