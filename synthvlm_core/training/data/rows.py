"""One row as a model takes it, and what a data set of rows offers.

Belongs here: the forms that all modules of this folder share. Does not belong here: any data set (pairs.py,
instructions.py).
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.errors import Mendable

IGNORED = -100
"""Label of a token that is not learnt."""

Numbers = NDArray[np.int64]


class DataError(Mendable):
    """A row that cannot be used; the message names file, row, what is wrong and what to do."""


@dataclass(frozen=True)
class Example:
    """One row: tokens, labels of the same length (`IGNORED` where not learnt), an RGB picture or None."""

    ids: list[int]
    labels: list[int]
    picture: Image.Image | None


class Rows(Protocol):
    """A data set: rows by number, and the order of one pass over it."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Example: ...

    def order(self, rng: np.random.Generator, group: int) -> Numbers:
        """Every row number once. `group`: rows of a global batch."""
        ...
