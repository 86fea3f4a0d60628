"""Rules on a value that a language model gives a caption.

Belongs here: what they share: weights, batches, the measurement. Does not belong here: the values (models/language.py)
and their bounds (perplexity.py, judge.py).
"""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthvlm_core.models import weights
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import CaptionContext, Rule
from synthvlm_core.parts.section import Incidental, Model, Positive, definition, named
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.records import Table

SHARD_ROWS = 2_000


class LanguageRule(Rule):
    """A bound for what a causal language model says of a caption. Rules over one model load it once."""

    version: ClassVar[int]
    """Raised when the same section, model and caption give another value."""
    table: ClassVar[Table]
    bound: ClassVar[str]
    """The key that bounds the value and does not change it."""

    model: Model
    batch_size: Annotated[Positive, Incidental()] = 64

    @abstractmethod
    def values(self, texts: list[str], model: Any, tokenizer: Any, tick: Callable[[int], None]) -> NDArray[np.float64]:
        """The value of every text, float64."""

    def measurement(self, context: CaptionContext) -> Measurement:
        where = f"captions.rules.{self.kind_name}"
        values = named(self, weights=weights.identify(context.folder), leave_out=("rule", self.bound), key=where)
        return Measurement(
            table=self.table,
            definition=definition(self.table.name, self.version, values),
            load=partial(_load, self, context),
            shard_rows=SHARD_ROWS,
            cost=1,
        )


def _load(rule: LanguageRule, context: Context) -> Measure:
    model, tokenizer = weights.shared_causal_language_model(rule.model, context.folder, context.threads)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        values = rule.values(rows["text"].to_pylist(), model, tokenizer, tick)
        return pa.table({"caption_id": rows["caption_id"], rule.statistic: values})

    return measure
