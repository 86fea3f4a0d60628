"""Verdicts on captions: which caption broke which rule first.

Belongs here: bounds, the first broken rule, counts and histograms. Does not belong here: measuring (measured.py), what
is stored (filtered.py).

A caption takes one byte of memory, and what it broke a rule with lies in a scratch database.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthvlm_core.captions.measured import Values
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.parts.rule import Bounds, Rule
from synthvlm_core.store.shards import DamagedShard
from synthvlm_core.store.sql import Scratch

HISTOGRAM_BINS = 50
_BROKEN = pa.schema([("place", pa.int64()), ("value", pa.float64()), ("threshold", pa.float64())])


class Verdicts:
    """Captions of a source and what was found out about them so far."""

    def __init__(self, scratch: Scratch, captions: Captions) -> None:
        self._scratch, self._captions = scratch, captions
        self._judged: list[tuple[Rule, Values | None]] = []
        self._instead: list[pa.Table] = []
        self._first: NDArray[np.uint8] = np.zeros(captions.rows, np.uint8)
        """By place: 0, or the number of the first broken rule among those judged, from 1."""
        self._broken = scratch.load(_BROKEN, [])
        self._cuts: dict[str, float] = {}

    def open(self) -> Chosen:
        """The captions that broke no rule so far."""
        return np.asarray(self._captions.all() & (self._first == 0))

    def broken(self) -> Chosen:
        """The captions that broke one."""
        return np.asarray(self._first > 0)

    def judge(
        self,
        family: str,
        rules: Sequence[Rule],
        values: Values,
        *,
        partly: bool = False,
        without: Chosen | None = None,
    ) -> None:
        """Note the captions that break one of some rules: the first such rule, value and bound.

        Args:
            values: of the open captions, with a column for each rule's statistic.
            partly: whether values may be missing; a caption without one breaks nothing, and none is compared with
                others.
            without: captions that have no original image and therefore no value; a rule says what becomes of them.

        Raises:
            DamagedShard: if a value is missing, as where another run moved a shard meanwhile.
        """
        open_ = self.open()
        if not partly and (values.known != (open_ if without is None else open_ & ~without)).any():
            raise DamagedShard(f"measurements of {family} were lost while they were read; run again")
        before = len(self._judged)
        for part in values.tables(sorted({rule.statistic for rule in rules})):
            places = part["place"].to_numpy()
            broken = []
            for number, rule in enumerate(rules, before + 1):
                column = part[rule.statistic]
                found = column.to_numpy()
                now = breaks(rule.bounds(), found) & (self._first[places] == 0)
                if column.null_count:
                    now &= column.is_valid().to_numpy()
                self._first[places[now]] = number
                broken.append(pa.table([places[now], found[now], _bound(rule, found[now])], _BROKEN))
            self._scratch.add(self._broken, [pa.concat_tables(broken)])
        self._judged += [(rule, values) for rule in rules]
        for number, rule in enumerate(rules, before + 1):
            if without is not None and rule.drops_without_original:
                places = np.flatnonzero(without & self.open())
                nothing = np.full(len(places), math.nan)
                self._break(number, places, nothing, _bound(rule, nothing))
        if not partly:
            for number, rule in enumerate(rules, before + 1):
                self._cut(number, rule, values)

    def compare(self, rule: Rule) -> None:
        """Note the captions that a rule which compares them lets go, each with the one that is kept instead."""
        open_ = self.open()
        places = np.flatnonzero(open_)
        found = rule.instead(lambda columns: self._captions.tables(open_, columns), len(places))
        self._judged.append((rule, None))
        gone = np.flatnonzero(found.of >= 0)
        values = found.value[gone]
        self._break(len(self._judged), places[gone], values, _bound(rule, values))
        kept = np.zeros(self._captions.rows, np.bool_)
        kept[places[found.of[gone]]] = True
        ids = [table["caption_id"].combine_chunks() for table in self._captions.tables(kept, ["caption_id"])]
        where = np.searchsorted(np.flatnonzero(kept), places[found.of[gone]])
        of = pa.concat_arrays([pa.array([], pa.string()), *ids]).take(pa.array(where))
        self._instead.append(pa.table({"place": places[gone], "kept_instead": of}))

    def kept_instead(self, places: slice) -> pa.Array:
        """For the rows at some places the id of the caption that is kept instead, null where there is none."""
        found = np.full(places.stop - places.start, -1, np.int64)
        ids = [pa.array([], pa.string())]
        before = 0
        for table in self._instead:
            first, last = np.searchsorted(table["place"].to_numpy(), (places.start, places.stop))
            part = table.slice(first, last - first)
            found[part["place"].to_numpy() - places.start] = before + np.arange(len(part))
            ids.append(part["kept_instead"].combine_chunks())
            before += len(part)
        return pa.concat_arrays(ids).take(pa.array(found, mask=found < 0))

    def _cut(self, number: int, rule: Rule, values: Values) -> None:
        """Of a rule that compares the captions that are left, note those that it does not let through."""
        places, found = [np.empty(0, np.int64)], [np.empty(0)]
        open_ = self.open()
        for part in values.tables([rule.statistic]):
            chosen = open_[part["place"].to_numpy()]
            places.append(part["place"].to_numpy()[chosen])
            found.append(part[rule.statistic].to_numpy()[chosen])
        where, numbers = np.concatenate(places), np.concatenate(found)
        most = rule.cut(numbers)
        if most is None or most >= len(numbers):
            return
        worst = float(np.partition(numbers, len(numbers) - most)[len(numbers) - most]) if most else math.inf
        out = numbers < worst
        self._cuts[rule.kind_name] = worst
        if most:
            out[np.isin(where, self._last(where[numbers == worst], most - int(np.count_nonzero(numbers > worst))))] = (
                True
            )
        self._break(number, where[out], numbers[out], np.full(int(np.count_nonzero(out)), worst))

    def _last(self, places: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """The places of all but the `most` lowest caption ids of some."""
        if len(places) == most:
            return places[:0]
        chosen = np.zeros(self._captions.rows, np.bool_)
        chosen[places] = True
        ids = [table["caption_id"].combine_chunks() for table in self._captions.tables(chosen, ["caption_id"])]
        order = np.asarray(pc.sort_indices(pa.concat_arrays(ids)))
        return np.asarray(np.sort(places)[order[most:]])

    def _break(
        self, number: int, places: NDArray[np.int64], values: NDArray[np.float64], bounds: NDArray[np.float64]
    ) -> None:
        """Note some captions under a rule, each with value and bound."""
        self._first[places] = number
        self._scratch.add(self._broken, [pa.table([places, values, bounds], _BROKEN)])

    def bounds(self, rule: Rule) -> Bounds:
        """What a rule let through: its own bounds, or the lowest value of those that it chose among the captions."""
        return Bounds(minimum=self._cuts[rule.kind_name]) if rule.kind_name in self._cuts else rule.bounds()

    def reasons(self) -> Iterator[pa.Table]:
        """Rule, value and threshold of the captions that broke one, in the order of the input."""
        names = pa.array([rule.kind_name for rule, _ in self._judged], pa.string())
        for part in self._scratch.tables(f"select * from {self._broken} order by place", rows=100_000):
            numbers = self._first[part["place"].to_numpy()]
            yield part.select(["value", "threshold"]).add_column(0, "rule", names.take(pa.array(numbers - 1)))

    def counts(self) -> dict[str, Any]:
        """Rows, captions, merged, kept, rejected, and how many each rule rejected."""
        captions = int(np.count_nonzero(self._captions.copies))
        by_rule = np.bincount(self._first, minlength=len(self._judged) + 1)[1:].tolist()
        return {
            "rows": self._captions.rows,
            "captions": captions,
            "merged": self._captions.rows - captions,
            "kept": captions - sum(by_rule),
            "rejected": sum(by_rule),
            "rejected_by_rule": {rule.kind_name: count for (rule, _), count in zip(self._judged, by_rule, strict=True)},
        }

    def histograms(self) -> dict[str, dict[str, Any]]:
        """By statistic, equal bins over its range: `edges` has one more entry than `kept` and `rejected`, and than
        `elsewhere`, which counts those of `rejected` that pass the rule of the statistic.

        Over more than three powers of ten, as perplexities go, the bins are equal on a logarithmic scale.
        """
        found: dict[str, tuple[Rule, Values]] = {}
        for rule, values in self._judged:
            if values is not None:  # of several rules on one statistic the first tells
                found.setdefault(rule.statistic, (rule, values))
        return {statistic: self._histogram(*told) for statistic, told in found.items()}

    def _histogram(self, rule: Rule, values: Values) -> dict[str, Any]:
        statistic = rule.statistic
        low, high = math.inf, -math.inf
        for _, finite in _finite(values, statistic):
            if len(finite):
                low, high = min(low, float(finite.min())), max(high, float(finite.max()))
        if low > high:
            return {"edges": [], "kept": [], "rejected": [], "elsewhere": []}
        logarithmic = low > 0 and high > 1000 * low
        if logarithmic:
            low, high = math.log10(low), math.log10(high)
        width = (high - low) / HISTOGRAM_BINS or 1.0 / HISTOGRAM_BINS
        counts = np.zeros((3, HISTOGRAM_BINS), np.int64)
        for places, finite in _finite(values, statistic):
            scaled = np.log10(finite) if logarithmic else finite
            bins = np.clip(np.floor((scaled - low) / width), 0, HISTOGRAM_BINS - 1).astype(np.int64)
            broken = self._first[places] > 0
            for side, chosen in enumerate((~broken, broken, broken & ~breaks(rule.bounds(), finite))):
                counts[side] += np.bincount(bins[chosen], minlength=HISTOGRAM_BINS)
        edges = [low + width * i for i in range(HISTOGRAM_BINS + 1)]
        return {
            "edges": [10**edge for edge in edges] if logarithmic else edges,
            "kept": counts[0].tolist(),
            "rejected": counts[1].tolist(),
            "elsewhere": counts[2].tolist(),
        }


def breaks(bounds: Bounds, values: NDArray[np.float64]) -> Chosen:
    """Which values lie beyond bounds. NaN does, whatever they are."""
    outside = np.isnan(values)
    if bounds.minimum is not None:
        outside |= ~(values >= bounds.minimum)
    if bounds.maximum is not None:
        outside |= ~(values <= bounds.maximum)
    return outside


def _bound(rule: Rule, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The bound that each value lies beyond, NaN if the rule has none."""
    bounds = rule.bounds()
    low, high = (math.nan if bound is None else bound for bound in (bounds.minimum, bounds.maximum))
    return np.where((values < low) | (bounds.maximum is None), low, high)


def _finite(values: Values, statistic: str) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Places and values as far as these are numbers."""
    for part in values.tables([statistic]):
        numbers = part[statistic].to_numpy()
        finite = np.isfinite(numbers)
        yield part["place"].to_numpy()[finite], numbers[finite]
