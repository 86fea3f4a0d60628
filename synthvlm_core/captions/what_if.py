"""What other thresholds would keep: counts from stored values, in seconds, writing nothing.

Belongs here: how many captions a source would keep under other bounds of one rule. Does not belong here: what that
costs to draw (plan.py), how it is printed (cli.py).

Counts are exact for rules of arithmetic, whose missing values are computed on the way. A model reads only what cheaper
rules left, so a caption that a looser bound would let through may never have been read by a later one; such captions
count as kept and are counted beside.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.measured import Values
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.captions.verdicts import breaks
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.rule import Bounds, Rule
from synthvlm_core.store.sql import Scratch

QUANTILES = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.999)


@dataclass(frozen=True)
class Outcome:
    """What a source keeps under some bounds of a rule."""

    bounds: Bounds
    kept: int
    unread: int
    """How many of the kept were never measured for another rule, and may break it."""


@dataclass(frozen=True)
class Share:
    """What one rule does among the others."""

    rule: str
    bounds: Bounds
    rejects: int
    """Captions that break it, as far as its values are known."""
    alone: int
    """Those that break no other rule: what switching it off would let through."""


class WhatIf:
    """A source's captions by the rules that they break."""

    def __init__(self, scratch: Scratch, stage: FilteredCaptions) -> None:
        """Reads ids and stored values, a few bytes for each caption in memory.

        Raises:
            Mendable: if the source was never read, or a stored shard is damaged.
        """
        self._captions = Captions(stage.raw.manifest["rows"], stage.read)
        self._broken: NDArray[np.uint8] = np.zeros(self._captions.rows, np.uint8)
        self._values: dict[str, tuple[Rule, Values]] = {}
        self._settled: dict[str, Chosen] = {}
        """By rule: the captions of which it is known whether they break it."""
        originals = stage.originals(self._captions)
        if originals is not None:
            originals.look(self._captions.all())
        for family in stage.families:
            values = stage.stored(scratch, self._captions, family, self._captions.all(), originals)
            if family.measurement.cost == 0 and values.missing.any():
                measure = family.measurement.load()
                for table in self._captions.tables(values.missing, ["caption_id", "text"]):
                    values.take(partial(_one, measure(table, _silent)))
            without = np.zeros(self._captions.rows, np.bool_)
            if originals is not None and family.measurement.takes == "original":
                without = originals.outcomes > 1
            for rule in (rule for rule in family.rules if not rule.needs_rules):
                self._settled[rule.kind_name] = values.known | without
                self._broken[without] += rule.drops_without_original
                self._values[rule.kind_name] = (rule, values)
                for part in values.tables([rule.statistic]):
                    self._broken[part["place"].to_numpy()] += breaks(rule.bounds(), part[rule.statistic].to_numpy())
        self.captions = int(np.count_nonzero(self._captions.copies))

    @cached_property
    def kept(self) -> int:
        """What the rules keep as they are, as far as it is known."""
        return int(np.count_nonzero(self._captions.all() & (self._broken == 0)))

    @property
    def rules(self) -> Sequence[str]:
        """The rules that are applied."""
        return list(self._values)

    def shares(self) -> list[Share]:
        """Each rule, by itself and among the others."""
        found = []
        for name, (rule, values) in self._values.items():
            rejects = alone = 0
            for part in values.tables([rule.statistic]):
                broken = breaks(rule.bounds(), part[rule.statistic].to_numpy())
                rejects += int(np.count_nonzero(broken))
                alone += int(np.count_nonzero(broken & (self._broken[part["place"].to_numpy()] == 1)))
            found.append(Share(name, rule.bounds(), rejects, alone))
        return found

    def outcomes(self, name: str, wanted: Sequence[Bounds] = ()) -> list[Outcome]:
        """What is kept under other bounds of a rule, all others staying.

        Args:
            wanted: the bounds; by default today's, and one of them moved over the quantiles of the captions that break
                no other rule.

        Raises:
            Mendable: if the recipe applies no such rule.
        """
        if name not in self._values:
            raise Mendable(f"no rule {name!r} is applied; those that are: {', '.join(self._values)}")
        rule, values = self._values[name]
        read = np.ones(self._captions.rows, np.bool_)
        for other, settled in self._settled.items():
            if other != name:
                read &= settled
        found: list[NDArray[np.float64]] = []
        unread: list[NDArray[np.float64]] = []
        for part in values.tables([rule.statistic]):
            places, numbers = part["place"].to_numpy(), part[rule.statistic].to_numpy()
            others_pass = self._broken[places] == breaks(rule.bounds(), numbers)
            found.append(numbers[others_pass])
            unread.append(numbers[others_pass & ~read[places]])
        open_ = self._captions.all() & (self._broken == 0) & ~values.known
        never = (int(np.count_nonzero(open_)), int(np.count_nonzero(open_ & ~read)))
        numbers, of_unread = (np.concatenate([np.empty(0), *parts]) for parts in (found, unread))
        return _counted(rule.bounds(), numbers, of_unread, never, wanted)


def _one(table: pa.Table) -> Iterator[pa.Table]:
    yield table


def _silent(done: int) -> None:
    """Says nothing."""


def _counted(
    now: Bounds,
    values: NDArray[np.float64],
    unread: NDArray[np.float64],
    never: tuple[int, int],
    wanted: Sequence[Bounds],
) -> list[Outcome]:
    """Outcomes of bounds over the values of captions that the other rules let through."""
    bounds = list(wanted)
    if not bounds:
        finite = values[np.isfinite(values)]
        chosen = np.unique(np.quantile(finite, QUANTILES, method="nearest")) if len(finite) else finite
        moved = "minimum" if now.minimum is not None else "maximum"
        today = getattr(now, moved)
        steps = sorted({*chosen.tolist(), *([] if today is None else [today])})
        bounds = [replace(now, **{moved: step}) for step in steps]
    return [
        Outcome(
            one,
            int(np.count_nonzero(~breaks(one, values))) + never[0],
            int(np.count_nonzero(~breaks(one, unread))) + never[1],
        )
        for one in bounds
    ]
