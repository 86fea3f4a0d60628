"""Rules that bound a share of the caption's text.

Belongs here: closed intervals of shares, and the upper bound of repetition. Does not belong here: what the share is of.
"""

from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from synthvlm_core.captions.rules.text_statistics import TextRule
from synthvlm_core.parts.rule import Bounds, CaptionContext
from synthvlm_core.parts.section import Absent, Share


class RatioRule(TextRule):
    """Closed interval of a share; an absent bound does not bind."""

    min_ratio: Annotated[Share | None, Absent(None)] = None
    max_ratio: Annotated[Share | None, Absent(None)] = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_ratio is None and self.max_ratio is None:
            raise ValueError("needs min_ratio, max_ratio or both")
        if self.min_ratio is not None and self.max_ratio is not None and self.min_ratio > self.max_ratio:
            raise ValueError("min_ratio must not exceed max_ratio")
        return self

    def bounds(self) -> Bounds:
        return Bounds(self.min_ratio, self.max_ratio)


class RepetitionRule(TextRule):
    """Upper bound of the share of repeated n-grams of `rep_len` characters or words."""

    length: ClassVar[str]
    """What the statistics call the length of the n-grams."""
    rep_len: Annotated[int, Field(ge=1, le=100)]
    max_ratio: Share

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_ratio)

    def parameters(self, context: CaptionContext) -> dict[str, Any]:
        return {self.length: self.rep_len}
