"""One choice for one number of a generator, however many options there are.

Belongs here: how every text of the world chooses its words. Does not belong here: the sampling of scenes.
"""

from collections.abc import Iterable, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


def pick(rng: np.random.Generator, options: Sequence[T]) -> T:
    """One option for one number from the generator, however many options there are."""
    return options[int(rng.random() * len(options))]


def pick_other(rng: np.random.Generator, options: Iterable[str], used: set[str]) -> str:
    """One of the options that are not used yet."""
    return pick(rng, [option for option in options if option not in used])


def at_share(options: Sequence[T], share: float) -> T:
    """The option at a share in [0, 1) of the list, where the number was drawn before."""
    return options[int(share * len(options))]
