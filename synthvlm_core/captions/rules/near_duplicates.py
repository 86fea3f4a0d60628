"""Rule near_duplicates: of captions that say nearly the same, one.

captions/near_duplicates.py says what nearly the same is. Applied last, to what all other rules kept, so that no caption
goes for one that is rejected itself. Not in the paper, whose rules know equal captions alone.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from synthvlm_core.captions.near_duplicates import near_duplicates
from synthvlm_core.captions.places import numbers
from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext, Instead, Rule
from synthvlm_core.parts.section import Absent, Positive
from synthvlm_core.store.measurements import Measurement

VERSION = "1"


class NearDuplicates(Rule):
    """Captions of a source of which none is similar to another that is kept."""

    rule: Literal["near_duplicates"]
    statistic = "similarity"
    compares = True

    threshold: Annotated[float, Field(gt=0.0, lt=1.0), Absent(0.7)] = 0.7
    """Least Jaccard index of two captions of which one goes."""
    shingle_words: Annotated[Positive, Absent(2)] = 2
    """Words of the runs that are compared."""
    keep: Annotated[Literal["first", "longest"], Absent("first")] = "first"
    """first: of similar captions the one of the lowest id stays. longest: the one of the most characters, then that."""

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.threshold)

    def content(self, context: Context) -> str | None:
        return VERSION

    def measurement(self, context: CaptionContext) -> Measurement:
        raise RecipeError("near_duplicates measures nothing of a single caption")

    def instead(self, tables: Callable[[Sequence[str]], Iterator[pa.Table]], count: int) -> Instead:
        ids, lengths = np.empty((count, 2), np.uint64), np.zeros(count, np.int64)
        first = 0
        for table in tables(["caption_id", "text"]):
            last = first + table.num_rows
            ids[first:last] = numbers(table["caption_id"])[0]
            if self.keep == "longest":
                lengths[first:last] = pc.utf8_length(table["text"]).to_numpy()
            first = last
        order = np.lexsort((ids[:, 1], ids[:, 0], -lengths))
        found = near_duplicates(
            lambda: tables(["text"]), count, order, shingle_words=self.shingle_words, threshold=self.threshold
        )
        return Instead(found.instead, found.similarity)
