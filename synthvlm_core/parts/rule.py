"""What a rule on captions must offer: its section, the statistic it reads, and the bounds between which it passes.

Belongs here: the base of rules and the closed interval. Does not belong here: the rules (captions/rules/), measuring
(captions/filtered.py).
"""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthvlm_core.parts.part import Context, Part
from synthvlm_core.store.measurements import Measurement


@dataclass(frozen=True)
class Bounds:
    """The closed interval [minimum, maximum] of values that pass; None does not bind. NaN passes nowhere."""

    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class CaptionContext(Context):
    """What a rule may need to know of the others."""

    text_form: str
    """How captions are spelled for statistics: `wrapped` or `bare`."""
    rules: "tuple[Rule, ...]"
    """All rules of the recipe, in its order."""


@dataclass(frozen=True)
class Instead:
    """What a rule that compares captions found, by number of the caption."""

    of: NDArray[np.int64]
    """-1 where the caption passes, else the number of the one that is kept instead."""
    value: NDArray[np.float64]
    """The statistic, where it does not pass."""


class Rule(Part):
    """Keep a caption whose statistic lies within bounds."""

    tag: ClassVar[str] = "rule"
    statistic: ClassVar[str]
    """The column of the measurement's table that the bounds are for."""

    @abstractmethod
    def bounds(self) -> Bounds:
        """What passes."""

    needs_rules: ClassVar[tuple[str, ...]] = ()
    """Kinds of rules without which this one means nothing, as it reads what they measure."""

    compares: ClassVar[bool] = False
    """Whether it compares captions with each other, and measures nothing of one: it has `instead` and comes last."""

    of_originals: ClassVar[bool] = False
    """Whether what it measures is of a caption and its original image."""

    @property
    def drops_without_original(self) -> bool:
        """Of a rule on originals: whether a caption breaks it whose original image cannot be had."""
        return False

    def cut(self, values: NDArray[np.float64]) -> int | None:
        """Of a rule that compares captions with each other: how many of those that are left it lets through, the ones
        of the highest values, of equal ones those of the lowest ids. None for a rule with bounds.

        Args:
            values: float64, those of the captions that broke no other rule so far, in no order.
        """
        return None

    def instead(self, tables: Callable[[Sequence[str]], Iterator[pa.Table]], count: int) -> Instead:
        """Of a rule that compares: which captions go, and for which.

        Args:
            tables: gives columns of the captions that broke no other rule, some at a time, as often as asked.
            count: of these.
        """
        raise NotImplementedError(f"{self.kind_name} compares nothing")

    @abstractmethod
    def measurement(self, context: CaptionContext) -> Measurement:
        """What must be known of a caption. It takes rows of `caption_id` and `text`; rules may share one."""

    def counted(self, text: str, context: CaptionContext) -> list[str]:
        """The spans of a text that its value counts, for people to see; empty where a value is not of spans."""
        return []

    def files(self, context: Context) -> dict[str, str]:
        """Of a rule that names a file other than a model: `origin`, where it came from, and `sha256`, for the manifest.
        Empty for others."""
        return {}
