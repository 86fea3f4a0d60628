"""Pictures of a set on local disk, from the order in which they are stored to the order of ranks.

Belongs here: one temporary file of all pictures and where in it each begins. Does not belong here: which pictures, and
what becomes of them (released.py).

Images lie in shards by caption id, a set is written by rank. So each shard is read once, its pictures of the set are
appended to one file in the folder for temporary files (TMPDIR), and each is read back once from there: the disk takes
as many bytes as the set's pictures, memory 16 bytes a picture.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np


class Spool:
    """Pictures by rank, each put once."""

    def __init__(self, file: IO[bytes], count: int) -> None:
        self._file = file
        self._places = np.zeros((count, 2), dtype=np.int64)  # offset and length

    @property
    def size(self) -> int:
        """Bytes of all pictures together."""
        return int(self._places[:, 1].sum())

    @property
    def missing(self) -> list[int]:
        """Ranks whose picture was not put yet."""
        return [int(place) + 1 for place in np.flatnonzero(self._places[:, 1] == 0)]

    def put(self, rank: int, picture: bytes) -> None:
        """Keep the picture of a rank, counted from 1."""
        self._places[rank - 1] = self._file.seek(0, 2), len(picture)
        self._file.write(picture)

    def get(self, rank: int) -> bytes:
        """The picture of a rank."""
        offset, length = (int(number) for number in self._places[rank - 1])
        self._file.seek(offset)
        return self._file.read(length)


@contextlib.contextmanager
def spool(count: int) -> Iterator[Spool]:
    """An empty spool for the ranks 1 to `count`, gone afterwards."""
    with tempfile.TemporaryFile(prefix="synthvlm-") as file:
        yield Spool(file, count)
