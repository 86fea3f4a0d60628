"""What a score of a pair must offer: its section, and a number for a picture and its caption.

Belongs here: the base of scores. Does not belong here: the scores (scoring/scorers/), which pairs are scored
(scoring/scored.py) and what follows from scores (selection/).
"""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import model_validator

from synthvlm_core.parts.part import Context, Part
from synthvlm_core.parts.section import Absent, Incidental, Name, Positive
from synthvlm_core.store import sql

WEIGHTED = "weighted_score"
"""The sum of all scores, each times the selection's weight for it."""

Scorer = Callable[[Sequence[Image.Image], Sequence[str]], NDArray[np.float64]]
"""(RGB pictures as decoded from the stored bytes, their captions) to one score each, float64 (pairs,).

Raises ValueError, naming no row, for a picture that cannot be scored; the stage names it.
"""


RESERVED = frozenset(
    {
        *("above", "apart", "attempt", "caption_id", "counting", "definition", "home", "image", "image_id", "k", "n"),
        *("nearness", "path", "picture_hash", "place", "rank", "seed", "shard", "source", "text", "total", "value"),
    }
)
"""Names that tables and queries use themselves."""


class Score(Part):
    """A number that grades a picture and its caption; more is better."""

    tag: ClassVar[str] = "score"
    version: ClassVar[int]
    """Raised when the same section, picture and caption give another number."""
    label: ClassVar[str]
    """What people call it, as in a heading."""
    meaning: ClassVar[str]
    """One line for column descriptions and cards."""
    bound: ClassVar[float]
    """How far the number may move between batch sizes, thread counts, processors and devices."""

    name: Annotated[Name | None, Absent(None)] = None
    """The score's column, by default its kind; needed where a recipe has one kind twice."""
    batch_size: Annotated[Positive, Incidental()] = 64

    @model_validator(mode="after")
    def _is_a_column(self) -> Self:
        if self.column in (*RESERVED, WEIGHTED) or not sql.is_column(self.column):
            raise ValueError(
                f"{self.name!r} cannot name a column; begin with a letter, and take no word of SQL and none that "
                "tables of scores have themselves, as rank"
            )
        return self

    @property
    def column(self) -> str:
        """What the score is called in tables, weights, floors and thresholds."""
        return (self.name or self.kind_name).replace("-", "_").replace(".", "_")

    @abstractmethod
    def load(self, context: Context) -> Scorer:
        """Load what scoring needs.

        Raises:
            RecipeError: if a model cannot be loaded as the recipe says.
        """

    def told(self) -> str:
        """How the score is defined, as one line of a card."""
        return f"{self.label}: {self.meaning}"
