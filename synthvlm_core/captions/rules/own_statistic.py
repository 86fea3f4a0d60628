"""Rules that measure one number of a caption's text by themselves, each in a table of its own.

Belongs here: the measurement that they share. Does not belong here: the numbers (one rule each), what is measured
together in one pass (text_statistics.py), what a language model says (language_rule.py).
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar

import pyarrow as pa

from synthvlm_core.parts.rule import CaptionContext, Rule
from synthvlm_core.parts.section import definition, named
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.records import Table

Texts = Callable[[pa.Array], pa.Array]
"""Texts (string, no nulls) to their values (float64)."""


class OwnStatistic(Rule):
    """A bound for a number of the text."""

    version: ClassVar[int]
    """Raised when the same section and caption give another value."""
    table: ClassVar[Table]
    bound: ClassVar[tuple[str, ...]]
    """The keys that bound the value and do not change it."""

    cost: ClassVar[int] = 0
    """As a measurement's: 1 for what takes longer than to read the caption again."""

    @abstractmethod
    def measure(self, context: CaptionContext) -> Texts:
        """What gives the values. Called where the work is done."""

    def depends_on(self, context: CaptionContext) -> dict[str, str]:
        """What values depend on beside the section: a file's content, a package's version."""
        return {}

    def measurement(self, context: CaptionContext) -> Measurement:
        values = {**named(self, leave_out=("rule", *self.bound)), **self.depends_on(context)}
        return Measurement(
            table=self.table,
            definition=definition(self.table.name, self.version, values),
            load=partial(_load, self, context),
            cost=self.cost,
        )


def _load(rule: OwnStatistic, context: CaptionContext) -> Measure:
    of_texts = rule.measure(context)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        values = of_texts(rows["text"].combine_chunks())
        tick(rows.num_rows)
        return pa.table({"caption_id": rows["caption_id"], rule.statistic: values.cast(pa.float64())})

    return measure
