"""What a check found out about stored files.

Belongs here: the form of a result, and what looking at some of many is worth. Does not belong here: the checks
themselves (each stage's checks.py) or what happens when one fails (synthvlm_assets).
"""

import math
from dataclasses import dataclass, field
from typing import Any

DAMAGE = 0.01
"""The share of rows whose damage a sample should meet."""


@dataclass(frozen=True)
class Finding:
    """Whether a property holds, with the numbers that say so."""

    passed: bool
    summary: str
    numbers: dict[str, Any] = field(default_factory=dict)
    warning: bool = False
    """Of one that does not pass: it is to be known and stops nothing."""


@dataclass(frozen=True)
class Sample:
    """How many of a number of rows a check looks at: a share of them, all if they are few."""

    total: int
    share: float
    """In [0, 1]; `checks.share` of the recipe."""
    least: int

    @property
    def size(self) -> int:
        """How many are looked at, 0 to `total`."""
        return min(self.total, max(self.least, math.ceil(self.share * self.total)))

    @property
    def power(self) -> float:
        """Probability that a sample of `size` rows, each as likely as any other, has one of `DAMAGE` * total bad ones:
        1 - C(total - bad, size) / C(total, size), the hypergeometric distribution."""
        bad = math.ceil(DAMAGE * self.total)
        if not self.total or self.size + bad > self.total:
            return 1.0
        missed = sum(math.log1p(-self.size / (self.total - number)) for number in range(bad))
        return -math.expm1(missed)

    def told(self, what: str) -> str:
        """What was looked at, and what that is worth."""
        if self.size == self.total:
            return f"all {self.total:,} {what}"
        return (
            f"{self.size:,} of {self.total:,} {what}, which meets damage of {DAMAGE:.0%} of them with a probability of "
            f"{self.power:.1%} (checks.share of the recipe: 1.0 looks at all)"
        )

    def numbers(self) -> dict[str, float]:
        """The same for a finding."""
        return {"looked_at": self.size, "of": self.total, "power": self.power}
