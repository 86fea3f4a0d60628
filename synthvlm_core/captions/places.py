"""Places: at which row of a source each caption id stands first, and how many rows share it.

Belongs here: the index, exact and of bounded memory. Does not belong here: what is decided about captions
(verdicts.py).

A row takes 4 bytes of memory (the count of its copies); the index about 28 for each id of a part. Beyond `PART_ROWS`
the ids are cut into parts by their value, one of which is indexed at a time, each by another pass over the ids.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

PART_ROWS = 32_000_000

Ids = Callable[[], Iterator[pa.ChunkedArray]]
"""Gives the ids of all rows, some at a time, as often as asked."""


class NoCaptionId(ValueError):
    """What stands for a caption id is not 32 hexadecimals; the message shows it."""


class WrongCount(ValueError):
    """There are more or fewer rows than was said; the message says how many."""


class Places:
    """The rows of some tables by caption id."""

    def __init__(self, ids: Ids, rows: int, *, part_rows: int = PART_ROWS) -> None:
        """
        Args:
            ids: of `rows` rows in all.

        Raises:
            NoCaptionId: if one is none.
            WrongCount: if there are more or fewer than `rows`; it says how many.
        """
        self._ids, self._parts = ids, max(1, -(-rows // part_rows))
        self.copies: NDArray[np.int32] = np.zeros(rows, np.int32)
        """By place: how many rows have the id of this one if it is the first, else 0."""
        for part in range(self._parts):
            self._part = _Part(ids(), self.copies, part, self._parts, counted=False)

    def find(self, tables: Callable[[], Iterator[pa.Table]]) -> Iterator[tuple[NDArray[np.int64], pa.Table]]:
        """Tables with a column `caption_id`, each with the places of its rows, -1 where an id is unknown.

        Where the ids are in parts, every table comes once for each, with -1 where an id belongs to another.
        """
        for part in range(self._parts):
            if self._part.number != part:
                self._part = _Part(self._ids(), self.copies, part, self._parts, counted=True)
            for table in tables():
                yield self._part.find(table["caption_id"]), table


class _Part:
    """The ids of a part and their places."""

    def __init__(
        self, ids: Iterator[pa.ChunkedArray], copies: NDArray[np.int32], number: int, parts: int, *, counted: bool
    ) -> None:
        from synthvlm_core.captions import _places_kernels  # a recipe loads without numba

        self._kernels, self.number, self._parts = _places_kernels, number, parts
        self._used = 0
        self._known: NDArray[np.uint64]
        self._places: NDArray[np.int64]
        self._slots: NDArray[np.int32]
        self._allocate(len(copies) // parts + (len(copies) // 20 if parts > 1 else 0))
        first = 0
        for some in ids:
            parsed, sound = numbers(some)
            if not sound.all():
                raise NoCaptionId(f"{some[int(sound.argmin())].as_py()!a} is no caption id")
            if first + len(parsed) > len(copies):
                raise WrongCount(f"more than {len(copies)}")
            if self._used + len(parsed) > len(self._places):
                self._allocate(2 * (self._used + len(parsed)))
            where = (self._known, self._places, self._slots)
            self._used = _places_kernels.add(parsed, first, number, parts, *where, self._used, copies, counted)
            first += len(parsed)
        if first != len(copies):
            raise WrongCount(f"{first}")

    def find(self, ids: pa.ChunkedArray) -> NDArray[np.int64]:
        """The place of each id, -1 where it is none of this part."""
        parsed, sound = numbers(ids)
        found = np.empty(len(parsed), np.int64)
        where = (self._known, self._places, self._slots)
        self._kernels.find(parsed, sound, self.number, self._parts, *where, found)
        return found

    def _allocate(self, entries: int) -> None:
        """Make room for so many ids."""
        known, places = np.empty((entries, 2), np.uint64), np.empty(entries, np.int64)
        if self._used:
            known[: self._used], places[: self._used] = self._known[: self._used], self._places[: self._used]
        self._known, self._places = known, places
        self._slots = np.full(1 << max(4, (entries + entries // 2).bit_length()), self._kernels.EMPTY, np.int32)
        self._kernels.rehash(self._known, self._used, self._slots)


def numbers(ids: pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """Each id as two numbers, uint64 (ids, 2), and whether it is one."""
    from synthvlm_core.captions import _places_kernels  # a recipe loads without numba

    found, sound = np.empty((len(ids), 2), np.uint64), np.empty(len(ids), np.bool_)
    first = 0
    for chunk in ids.chunks:
        array = chunk.cast(pa.large_string())
        _, offsets, data = array.buffers()
        starts = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
        letters = np.frombuffer(data or b"", np.uint8)
        letters.flags.writeable = starts.flags.writeable = False
        last = first + len(array)
        _places_kernels.parse(letters, starts, found[first:last], sound[first:last])
        first = last
    return found, sound
