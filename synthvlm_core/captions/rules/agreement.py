"""Rules that bound the agreement of a caption with its original image.

Belongs here: what the two share. This version fetches no original images, so both are listed as not applied.
"""

from typing import Annotated, Literal

from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.parts.section import Absent, Model, Share
from synthvlm_core.store.measurements import Measurement


class AgreementRule(Rule):
    """Closed interval of an agreement."""

    model: Model
    min_score: Share
    max_score: Annotated[Share, Absent(1.0)] = 1.0
    without_image: Annotated[Literal["keep", "drop"], Absent("keep")] = "keep"
    """What becomes of a caption whose original image cannot be had."""

    def unavailable(self, context: Context) -> str | None:
        return "this version has no original images to compare captions with"

    def bounds(self) -> Bounds:
        return Bounds(self.min_score, self.max_score)

    def measurement(self, context: CaptionContext) -> Measurement:
        raise RecipeError(f"captions.rules: {self.kind_name}: {self.unavailable(context)}")
