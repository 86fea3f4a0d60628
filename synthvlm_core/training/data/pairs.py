"""Pictures and captions of a released set.

Belongs here: reading rows of the set's Parquet files, their order. Does not belong here: tokens (words.py), which files
a set has and whether they are sound (release/released.py).

Rows are numbered by rank and lie in blocks of `BLOCK_ROWS`. The order of a pass goes over blocks, whatever files and
row groups the set is cut into; it is made such that each block is read once a pass, and only a few lie in memory.
"""

import bisect
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core.training.data.pictures import decoded
from synthvlm_core.training.data.rows import DataError, Example, Numbers
from synthvlm_core.training.data.words import Words

BLOCK_ROWS = 100
"""Rows that are read together: by rank, the last block shorter."""
POOLED_BLOCKS = 8
"""Blocks that are shuffled together, and that lie in memory at once."""
REMEDY = "materialize synthvlm_100k again"


class Pairs:
    """Rows of a released set as a data set.

    Args:
        files: the set's table as local Parquet files in the order of ranks, proved by whoever gives them, there as long
            as rows are read.

    Raises:
        DataError: if there are no rows, a column is missing, or a row has no caption or no picture.
    """

    COLUMNS = ("image_id", "text", "image")

    def __init__(self, files: Sequence[Path], words: Words) -> None:
        self._words = words
        self._groups: list[tuple[Path, int]] = []
        self._starts = [0]
        for file in files:
            try:
                parquet = pq.ParquetFile(file)
            except (OSError, pa.ArrowInvalid) as error:
                raise DataError(f"{file.name}: not readable Parquet ({error}); {REMEDY}") from error
            missing = [column for column in self.COLUMNS if column not in parquet.schema_arrow.names]
            if missing:
                raise DataError(f"{file.name}: no column {missing[0]!r}; a set has {', '.join(self.COLUMNS)}; {REMEDY}")
            for group in range(parquet.num_row_groups):
                self._groups.append((file, group))
                self._starts.append(self._starts[-1] + parquet.metadata.row_group(group).num_rows)
        if not len(self):
            raise DataError(f"a set without pairs, there is nothing to train on; {REMEDY}")
        self._held: OrderedDict[int, pa.Table] = OrderedDict()

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Example:
        block, row = divmod(number, BLOCK_ROWS)
        rows = self._block(block)
        image_id, caption, image = (rows[column][row].as_py() for column in self.COLUMNS)
        place = f"{self._groups[self._group_of(number)][0].name}, image {image_id}"
        if caption is None or image is None or not image["bytes"]:
            raise DataError(f"{place}: no caption or no picture; {REMEDY}")
        ids, labels = self._words.plain(caption)
        return Example(ids, labels, decoded(image["bytes"], place))

    def order(self, rng: np.random.Generator, group: int) -> Numbers:
        """Blocks in random order, `POOLED_BLOCKS` at a time, their rows shuffled together."""
        shuffled = rng.permutation(-(-len(self) // BLOCK_ROWS))
        pools = []
        for at in range(0, len(shuffled), POOLED_BLOCKS):
            starts = shuffled[at : at + POOLED_BLOCKS] * BLOCK_ROWS
            pool = [np.arange(start, min(start + BLOCK_ROWS, len(self))) for start in starts]
            pools.append(rng.permutation(np.concatenate(pool)))
        return np.concatenate(pools)

    def _group_of(self, number: int) -> int:
        """The row group in which a row lies."""
        return bisect.bisect_right(self._starts, number) - 1

    def _block(self, block: int) -> pa.Table:
        if block not in self._held:
            while len(self._held) >= POOLED_BLOCKS:
                self._held.popitem(last=False)
            self._held[block] = self._read(block)
        self._held.move_to_end(block)
        return self._held[block]

    def _read(self, block: int) -> pa.Table:
        """The rows of a block, from the one or more row groups in which they lie."""
        start, end = block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, len(self))
        parts = []
        for number in range(self._group_of(start), self._group_of(end - 1) + 1):
            file, group = self._groups[number]
            try:
                rows = pq.ParquetFile(file).read_row_group(group, columns=list(self.COLUMNS))
            except (OSError, pa.ArrowInvalid) as error:
                raise DataError(f"{file.name}: row group {group} cannot be read ({error}); {REMEDY}") from error
            first = max(0, start - self._starts[number])
            parts.append(rows.slice(first, end - self._starts[number] - first))
        return pa.concat_tables(parts)
