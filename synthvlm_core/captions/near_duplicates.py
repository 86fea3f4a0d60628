"""Near-duplicate captions: which of some texts say nearly what another says that is kept.

Belongs here: shingles, MinHash signatures, bands, who is kept. Does not belong here: the rule and its section
(rules/near_duplicates.py), equal captions (merged.py).

A caption is the set of its runs of a few words, in lower case and without punctuation at their ends; two are similar by
the Jaccard index of their sets. MinHash with bands (Broder 1997; Leskovec, Rajaraman, Ullman, Mining of Massive
Datasets, chapter 3) proposes pairs, and a pair counts only by its sets themselves: nothing is called a duplicate that
is none. What is missed is a pair that no band proposes, of similarity s with probability (1 - s^rows)^bands.

Captions are taken in an order of preference. One is kept unless it is similar to one that is kept already, and then it
is a duplicate of the most similar of those: kept ones are never similar to each other as far as bands propose it, there
are no chains, and among the kept nothing more is found.

datasketch keeps its bands in Python's dictionaries, gigabytes for a million captions, and rensa hashes one text at a
time; here sets and bands are arrays, of which only those of one band are in memory.
"""

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthvlm_core.store import temporary

PERMUTATIONS: Final = 128
MISSED: Final = 0.005
"""Most of the pairs at the threshold that no band proposes; of more similar ones it is fewer."""
MOST: Final = 32
"""Kept captions that share a band with another and are compared with it, of one band the last ones: phrases that a
thousand different captions hold would cost a thousand comparisons each."""

Texts = Callable[[], Iterator[pa.Table]]
"""Gives tables with a column `text`, some rows at a time."""


class Found(NamedTuple):
    """By text, in the order in which they were given."""

    instead: NDArray[np.int64]
    """-1 where it is kept, else the text that is kept instead."""
    similarity: NDArray[np.float64]
    """Of the two; 0 where it is kept."""


def bands_of(threshold: float) -> tuple[int, int]:
    """How many bands of how many rows: the most rows, and so the fewest pairs that are proposed in vain, with which a
    pair of just that similarity is missed by chance no more often than `MISSED`."""
    fitting = [1]
    for rows in range(1, PERMUTATIONS + 1):
        if (1.0 - threshold**rows) ** (PERMUTATIONS // rows) <= MISSED:
            fitting.append(rows)
    return PERMUTATIONS // max(fitting), max(fitting)


def near_duplicates(
    texts: Texts, count: int, order: NDArray[np.int64], *, shingle_words: int, threshold: float
) -> Found:
    """Which of some texts are near-duplicates of which.

    Args:
        count: of the texts.
        order: every text's number once, the preferred ones first; int64 (count,).
        shingle_words: words of a run.
        threshold: least Jaccard index of a duplicate and what is kept instead, in (0, 1].
    """
    from synthvlm_core.captions import _near_kernels  # a recipe loads without numba

    instead, similarity = np.full(count, -1, np.int64), np.zeros(count)
    if not count:
        return Found(instead, similarity)
    bands, rows = bands_of(threshold)
    random = np.random.default_rng(0x5EED)
    factors = random.integers(0, 2**64, bands * rows, np.uint64) | np.uint64(1)
    terms = random.integers(0, 2**64, bands * rows, np.uint64)
    with temporary.folder("near") as folder:
        keys = np.memmap(folder / "keys", np.uint64, "w+", shape=(bands, count))
        ends = np.empty(count, np.int64)
        done = used = 0
        with (folder / "shingles").open("wb") as file:
            for table in texts():
                data, offsets = _lowered(table["text"])
                many = len(offsets) - 1
                if not many:
                    continue
                found, counts = np.empty(len(data) + many, np.uint64), np.empty(many, np.int64)
                found = found[: _near_kernels.shingles(data, offsets, shingle_words, found, counts)]
                part = np.empty((bands, many), np.uint64)
                _near_kernels.band_keys(found, counts, factors, terms, rows, part)
                keys[:, done : done + many] = part
                ends[done : done + many] = used + np.cumsum(counts)
                file.write(found.tobytes())
                done, used = done + many, used + len(found)
        if done != count:
            raise ValueError(f"{done} texts came, {count} were said")
        if not used:
            return Found(instead, similarity)
        members, starts, buckets = _buckets(keys, count)
        shingles = np.memmap(folder / "shingles", np.uint64, "r", shape=(used,))
        heads, following = np.full(buckets, -1, np.int64), np.empty((len(members), 2), np.int64)
        where = (members, starts, heads, following)
        _near_kernels.keep(order, *where, shingles, ends, threshold, MOST, instead, similarity)
        del keys, shingles
    return Found(instead, similarity)


def _buckets(keys: NDArray[np.uint64], count: int) -> tuple[NDArray[np.int32], NDArray[np.int64], int]:
    """The buckets of each text that it shares with another, behind one another; where each text's begin; how many
    buckets there are. One band is in memory at a time."""
    from synthvlm_core.captions import _near_kernels

    rows, numbers = [], []
    buckets = 0
    for band in keys:
        values = np.ascontiguousarray(band)
        found = np.empty(count, np.int32)
        buckets = int(_near_kernels.number_buckets(values, np.argsort(values, kind="stable"), found, buckets))
        shared = np.flatnonzero(found >= 0).astype(np.int32)
        rows.append(shared)
        numbers.append(found[shared])
    texts, members = np.concatenate(rows), np.concatenate(numbers)
    starts = np.zeros(count + 1, np.int64)
    np.cumsum(np.bincount(texts, minlength=count), out=starts[1:])
    return members[np.argsort(texts, kind="stable")], starts, buckets


def _lowered(texts: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The bytes of texts in lower case, and where each begins and the last ends."""
    array = pc.utf8_lower(pa.concat_arrays([chunk.cast(pa.large_string()) for chunk in texts.chunks] or [_NONE]))
    _, offsets, data = array.buffers()
    found = np.frombuffer(data or b"", np.uint8), np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    for part in found:
        part.flags.writeable = False
    return found


_NONE: Final = pa.array([], pa.large_string())
