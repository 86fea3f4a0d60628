"""Rule most_similar: of the captions that are left, those that agree best with their original images.

SynthVLM's slides choose the top 40 % by CLIPScore and so a million captions; its appendix has thresholds instead
(image_text_similarity), after which this rule may choose.
"""

import math
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from synthvlm_core.captions.rules.image_text_similarity import ImageTextSimilarity
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.parts.section import Absent, Positive, Share
from synthvlm_core.store.measurements import Measurement


class MostSimilar(Rule):
    """A share or a number of the captions of each source that the rules before it left, by image similarity.

    Captions without an original image are not among them: image_text_similarity says what becomes of those. Exact over
    the source; of captions of one similarity those of the lowest ids stay.
    """

    rule: Literal["most_similar"]
    statistic = "image_similarity"
    of_originals = True
    needs_rules = ("image_text_similarity",)

    share: Annotated[Share, Absent(1.0)] = 1.0
    """Rounded up to whole captions."""
    count: Annotated[Positive | None, Absent(None)] = None
    """At most so many, of what the share leaves."""

    @model_validator(mode="after")
    def _chooses(self) -> "MostSimilar":
        if self.share == 1.0 and self.count is None:
            raise ValueError("give share, count or both")
        return self

    def bounds(self) -> Bounds:
        return Bounds()

    def cut(self, values: NDArray[np.float64]) -> int | None:
        most = math.ceil(round(self.share * len(values), 6))
        return most if self.count is None else min(most, self.count)

    def measurement(self, context: CaptionContext) -> Measurement:
        return next(rule for rule in context.rules if isinstance(rule, ImageTextSimilarity)).measurement(context)
