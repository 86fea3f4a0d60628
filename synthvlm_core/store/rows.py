"""Rows between two sizes of tables: added as they come, taken as many as are wanted.

Belongs here: that queue. Does not belong here: where rows come from or go to.
"""

from collections import deque

import pyarrow as pa


class Rows:
    """Rows of tables of one schema, in their order."""

    def __init__(self) -> None:
        self._held: deque[pa.Table] = deque()
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, table: pa.Table) -> None:
        """Put rows behind the others."""
        self._held.append(table)
        self._count += table.num_rows

    def take(self, rows: int) -> pa.Table:
        """Take the first `rows` rows, or all if there are fewer, in one chunk per column.

        Raises:
            ValueError: if nothing was ever added.
        """
        taken: list[pa.Table] = []
        wanted = min(rows, self._count)
        while self._held and (wanted > 0 or not taken):
            table = self._held.popleft()
            taken.append(table.slice(0, wanted))
            if table.num_rows > wanted:
                self._held.appendleft(table.slice(wanted))
            wanted -= taken[-1].num_rows
            self._count -= taken[-1].num_rows
        if not taken:
            raise ValueError("no rows were added")
        return pa.concat_tables(taken).combine_chunks()
