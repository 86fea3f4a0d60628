"""One row as a model takes it, and what a data set of rows offers.

Belongs here: the forms that all modules of this folder share. Does not belong here: any data set (pairs.py,
instructions.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.errors import Mendable

TOLD = 50
"""Rows that are named one by one; of the others the number is told."""
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


def together(file: Path, wrong: Sequence[str | None], what: str = "rows") -> str | None:
    """What is wrong with a file as one message: a single thing as it is, several one a line; None if nothing is.

    Args:
        wrong: in the order of the file, each beginning with the file; None of what is counted only.
        what: what they are.
    """
    told = [words.removeprefix(f"{file}, ") for words in wrong if words is not None][:TOLD]
    if len(wrong) < 2:
        return next(iter(wrong), None)
    more = [f"and {len(wrong) - len(told):,} more"] if len(wrong) > len(told) else []
    return "\n  ".join([f"{file}: {len(wrong):,} {what} cannot be used:", *told, *more])


class Rows(Protocol):
    """A data set: rows by number, and the order of one pass over it."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Example: ...

    def order(self, rng: np.random.Generator, group: int) -> Numbers:
        """Every row number once. `group`: rows of a global batch."""
        ...
