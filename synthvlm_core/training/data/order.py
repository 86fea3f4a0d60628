"""Which row of a data set comes when: a function of the recipe's seed and the rows alone.

Belongs here: passes over a data set, LLaVA's grouping, rows in a given order. Does not belong here: reading rows.
"""

from collections.abc import Sequence

import numpy as np

from synthvlm_core.training.data.rows import Example, Numbers, Rows


class Ordered:
    """Rows in a given order, as a data set of their own."""

    def __init__(self, rows: Rows, order: Numbers) -> None:
        self._rows, self._order = rows, order

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, at: int) -> Example:
        return self._rows[int(self._order[at])]


def passes(rows: Rows, epochs: float, *, seed: Sequence[int], group: int) -> Numbers:
    """Row numbers of all passes one after the other; a broken number of passes ends within the last.

    The order depends on the seed and the rows alone, so that a run that starts again finds its place in it.
    """
    wanted = max(1, round(len(rows) * epochs))
    found: list[Numbers] = []
    for number in range(-(-wanted // len(rows))):
        found.append(rows.order(np.random.default_rng([*seed, number]), group))
    return np.concatenate(found)[:wanted]


def grouped_by_modality_and_length(lengths: Numbers, group: int, rng: np.random.Generator) -> Numbers:
    """An order in which batches of `group` rows are all pictured or all text, and of about equal length.

    Args:
        lengths: of every row, at least 1 with the sign of its kind: negative for text alone.

    LLaVA's way: of each kind, shuffled rows are cut into stretches of 50 batches, sorted by length within a stretch;
    the batches of both kinds are shuffled; what fills no batch comes last.
    """
    batches: list[Numbers] = []
    rest: list[Numbers] = []
    for kind in (np.flatnonzero(lengths > 0), np.flatnonzero(lengths < 0)):
        shuffled = rng.permutation(kind)
        for at in range(0, len(shuffled), 50 * group):
            stretch = shuffled[at : at + 50 * group]
            stretch = stretch[np.argsort(-np.abs(lengths[stretch]), kind="stable")]
            whole = len(stretch) // group * group
            batches += np.split(stretch[:whole], whole // group) if whole else []
            rest.append(stretch[whole:])
    ordered = [batches[int(at)] for at in rng.permutation(len(batches))]
    return np.concatenate([*ordered, *rest]).astype(np.int64)
