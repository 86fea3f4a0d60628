"""Measurements: values computed from content, stored once for ever under what they depend on.

Belongs here: what a measurement is, and where its values of one source lie. Does not belong here: computing them (the
parts), and the loop that computes what is missing (engine.py).
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from synthvlm_core.store.objects import Store
from synthvlm_core.store.records import Table
from synthvlm_core.store.shards import Folder

Measure = Callable[[pa.Table, Callable[[int], None]], pa.Table]
"""(rows to measure, told how many are done) to rows of the measurement's table."""


class Partly(Exception):
    """Measuring ended early: what was measured so far is kept, and the error behind it ends the run."""

    def __init__(self, rows: pa.Table, error: Exception) -> None:
        super().__init__(str(error))
        self.rows, self.error = rows, error


@dataclass(frozen=True)
class Measurement:
    """Values computed together, kept in a table of their own under the hash of what they depend on."""

    table: Table
    definition: str
    load: Callable[[], Measure]
    """Loads models and gives the function that measures. Called where the work is done, once, and only if there is
    any; it can be pickled."""
    shard_rows: int = 50_000
    """Rows measured between two writes: what a kill can cost."""
    row_group_rows: int | None = None
    """Most rows per row group, for tables whose rows are large."""
    cost: int = 0
    """Dearer measurements come later, on what the cheaper ones left: 0 for arithmetic, 1 for a model, 2 for a picture
    that must be had first, 3 for a server."""
    takes: Literal["caption", "original"] = "caption"
    """Rows of `caption_id` and `text`, or of these, `original_id` and the original `image`."""

    def folder(self, store: Store, *place: str, made_by: str) -> Folder:
        """Where a stage's values lie: under `place`, whose parts may hold `{definition}`."""
        path = store.path(*(part.format(definition=self.definition) for part in place))
        return Folder(store, self.table, path, made_by)
