"""Intervals: how far a number may be from what it would be with endless questions. All are 95 %.

Belongs here: the formulas, for every user of them. Does not belong here: which numbers are looked at (accuracy.py,
perplexity.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z = 1.959963984540054
"""The normal distribution holds 95 % within this many standard deviations."""
RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A number with its interval."""

    value: float
    low: float
    high: float


def wilson(right: float, n: int) -> tuple[float, float]:
    """Wilson score interval of a share, (0, 1) where nothing was asked.

    With p = right / n and z = `Z`: (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n)
    (E. B. Wilson, Probable inference, the law of succession, and statistical inference, 1927).

    Args:
        right: 0 to n; parts of a point may be in it, which makes the interval too wide, never too narrow.
    """
    if n == 0:
        return 0.0, 1.0
    share = right / n
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    centre, scale = share + Z * Z / (2 * n), 1 + Z * Z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def mean_gain(gains: NDArray[np.float64], groups: Sequence[str], *, seed: int = 0) -> Estimate:
    """Mean of paired differences with a percentile bootstrap over groups: what belongs together is drawn together.

    Args:
        gains: at least one, in float64.
        groups: of each gain, such as the picture that a question is about.
        seed: of the draws; the same one gives the same interval.
    """
    _, which = np.unique(np.array(groups), return_inverse=True)
    sums = np.bincount(which, weights=gains)
    sizes = np.bincount(which).astype(np.float64)
    rng = np.random.default_rng([seed, len(gains)])
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(gains.mean()), float(low), float(high))


def geometric_ratio(after: NDArray[np.float64], before: NDArray[np.float64]) -> Estimate:
    """Geometric mean of after / before, pair by pair, with the normal interval of the mean of its logarithms.

    Args:
        after, before: positive, at least two.
    """
    gains = np.log(after) - np.log(before)
    mean = float(gains.mean())
    spread = Z * float(gains.std(ddof=1)) / math.sqrt(len(gains))
    return Estimate(math.exp(mean), math.exp(mean - spread), math.exp(mean + spread))
