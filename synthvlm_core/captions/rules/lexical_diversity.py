"""Rule lexical_diversity: the share of a caption's words that are different.

Beyond the paper: the type-token ratio, over words in lower case that white space parts. Short texts have high values by
nature, so a bound says most of captions of about equal length.
"""

from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core.captions.rules.own_statistic import OwnStatistic, Texts
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Share
from synthvlm_core.store import records


class LexicalDiversity(OwnStatistic):
    """Captions that do not say the same words again and again."""

    rule: Literal["lexical_diversity"]
    statistic = "lexical_diversity"
    version = 1
    table = records.LEXICAL_DIVERSITY
    bound = ("min_ratio",)

    min_ratio: Share

    def bounds(self) -> Bounds:
        return Bounds(minimum=self.min_ratio)

    def measure(self, context: CaptionContext) -> Texts:
        return diversities


def diversities(texts: pa.Array) -> pa.Array:
    """Different words by words of every text, in (0, 1]; 0.0 without any word. float64."""
    words = (text.split() for text in pc.utf8_lower(texts).to_pylist())
    return pa.array([len(set(some)) / len(some) if some else 0.0 for some in words], pa.float64())
