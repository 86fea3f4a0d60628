"""Shares and means with their 95 % intervals, and the rows of the quality table.

Belongs here: the statistics that all parts of the table have in common. Does not belong here: what is measured.
"""

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.evaluation import intervals

Row: TypeAlias = tuple[str, float, str]
"""Name, value, and a note with the interval and the number of cases."""


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `n` cases."""

    right: int
    n: int

    @property
    def value(self) -> float:
        """The share, NaN of no cases."""
        return self.right / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        return intervals.wilson(self.right, self.n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] of {self.n}"


def share_row(name: str, share: Share) -> Row:
    """A row of a share, with Wilson's interval."""
    low, high = share.interval
    return name, share.value, f"95 % [{low:.3f}, {high:.3f}] of {share.n}"


def mean_row(name: str, values: NDArray[Any]) -> Row:
    """A row of a mean, with the normal interval."""
    half = intervals.Z * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    mean = float(values.mean())
    return name, mean, f"95 % [{mean - half:.3f}, {mean + half:.3f}] of {len(values)}"
