"""Rule word_count: how many words a caption has.

Beyond the paper; Data-Juicer's words_num_filter. Words are what white space parts.
"""

from typing import Annotated, Literal, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, model_validator

from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent
from synthvlm_core.store import records


class WordCount(OwnStatistic):
    """Captions that are neither a tag nor an essay."""

    rule: Literal["word_count"]
    statistic = "word_count"
    version = 1
    table = records.WORD_COUNT
    bound = ("min_words", "max_words")

    min_words: Annotated[int | None, Field(ge=0), Absent(None)] = None
    max_words: Annotated[int | None, Field(ge=0), Absent(None)] = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_words is None and self.max_words is None:
            raise ValueError("needs min_words, max_words or both")
        if self.min_words is not None and self.max_words is not None and self.min_words > self.max_words:
            raise ValueError("min_words must not exceed max_words")
        return self

    def bounds(self) -> Bounds:
        return Bounds(self.min_words, self.max_words)

    def measure(self, context: CaptionContext) -> Texts:
        return word_counts


def word_counts(texts: pa.Array) -> pa.Array:
    """The number of words of every text, int32."""
    trimmed = pc.utf8_trim_whitespace(texts)
    counts = pc.list_value_length(pc.utf8_split_whitespace(trimmed))
    return pc.if_else(pc.equal(trimmed, ""), 0, counts)
