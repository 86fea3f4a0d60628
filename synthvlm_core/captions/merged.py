"""The captions of a source: its raw rows, of which equal ones count once, at the first.

Belongs here: reading them in the order of the input, as often as needed. Does not belong here: finding the first of
equal ones (places.py), what is measured and decided (measured.py, verdicts.py).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthvlm_core.captions.places import NoCaptionId, Places, WrongCount
from synthvlm_core.store.rows import Rows
from synthvlm_core.store.shards import SHARD_ROWS, DamagedShard

Chosen = NDArray[np.bool_]
"""One value per raw row of a source: whether it is meant."""


class Captions:
    """One caption per id: the first row by file and row. Texts are never held; they are read again."""

    def __init__(self, rows: int, read: Callable[[Sequence[str]], Iterator[pa.Table]]) -> None:
        """
        Args:
            rows: how many raw rows there are.
            read: gives columns of all of them in their order, some at a time, as often as asked.

        Raises:
            DamagedShard: if a raw shard is not what it was; a decision from it would outlive the repair.
        """
        self.rows, self._read = rows, read
        try:
            self.places = Places(lambda: (table["caption_id"] for table in read(["caption_id"])), rows)
        except WrongCount as error:
            raise DamagedShard(
                f"raw_captions have {error} rows, their manifest says {rows}: materialize raw_captions again"
            ) from error
        except NoCaptionId as error:
            raise DamagedShard(f"raw_captions: {error}: materialize raw_captions again") from error

    @property
    def copies(self) -> NDArray[np.int32]:
        """By row: how many rows have its text if it is the first, else 0; int32 of shape (rows,)."""
        return self.places.copies

    def all(self) -> Chosen:
        """The captions: the rows that are the first of their id."""
        return np.asarray(self.copies > 0)

    def tables(self, chosen: Chosen, columns: Sequence[str], *, rows: int = SHARD_ROWS) -> Iterator[pa.Table]:
        """Columns of the chosen rows, in the order of the input, as tables of `rows` rows, the last one shorter."""
        held = Rows()
        for places, table in self.shards(columns):
            held.add(table.filter(pa.array(chosen[places])))
            while len(held) >= rows:
                yield held.take(rows)
        if len(held):
            yield held.take(rows)

    def shards(self, columns: Sequence[str]) -> Iterator[tuple[slice, pa.Table]]:
        """Columns of all rows, a shard at a time, each with its places."""
        first = 0
        for table in self._read(columns):
            yield slice(first, first + table.num_rows), table
            first += table.num_rows
