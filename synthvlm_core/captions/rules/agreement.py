"""Rules that bound the agreement of a caption with its original image.

Belongs here: what they share: the policy for captions without an image, batches of pictures, the measurement. Does not
belong here: having the images (captions/original_images.py), the values (the rules, models/).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.decoding import decode
from synthvlm_core.models import weights
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.parts.section import Absent, Incidental, Model, Positive, Share, definition, named
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.records import Table

SHARD_ROWS = 2_000

Agree = Callable[[Sequence[Image.Image], Sequence[str]], NDArray[np.float64]]
"""(RGB pictures, as many captions) to float64 values, one a pair."""


class AgreementRule(Rule):
    """Closed interval of an agreement."""

    version: ClassVar[int]
    """Raised when the same section, model, caption and picture give another value."""
    table: ClassVar[Table]
    of_originals = True

    model: Model
    min_score: Share
    max_score: Annotated[Share, Absent(1.0)] = 1.0
    without_image: Annotated[Literal["keep", "drop"], Absent("keep")] = "keep"
    """What becomes of a caption whose original image cannot be had. `original_image` of a kept one says why."""
    batch_size: Annotated[Positive, Incidental()] = 64

    @property
    def drops_without_original(self) -> bool:
        return self.without_image == "drop"

    def bounds(self) -> Bounds:
        return Bounds(self.min_score, self.max_score if self.max_score < 1.0 else None)  # no value is above 1

    @abstractmethod
    def agree(self, context: Context, key: str) -> Agree:
        """Load what compares. Raises RecipeError if it cannot be loaded.

        Args:
            key: of this section in the recipe, for messages.
        """

    def measurement(self, context: CaptionContext) -> Measurement:
        key = f"captions.rules.{self.kind_name}"
        apart = ("rule", "min_score", "max_score", "without_image")
        values = named(self, weights=weights.identify(context.folder), leave_out=apart, key=key)
        return Measurement(
            table=self.table,
            definition=definition(self.table.name, self.version, values),
            load=partial(_load, self, Context(context.folder, context.seed, context.threads), key),
            shard_rows=SHARD_ROWS,
            cost=2,
            takes="original",
        )


def _load(rule: AgreementRule, context: Context, key: str) -> Measure:
    agree = rule.agree(context, key)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        texts = rows["text"].to_pylist()
        values = [np.empty(0)]
        for start in range(0, len(texts), rule.batch_size):
            stop = start + rule.batch_size
            pictures = [decode(image["bytes"]) for image in rows["image"][start:stop].to_pylist()]
            values.append(agree(pictures, texts[start:stop]))
            tick(min(stop, len(texts)))
        return pa.table(
            {
                "caption_id": rows["caption_id"],
                "original_id": rows["original_id"],
                rule.statistic: np.concatenate(values),
            }
        )

    return measure
