"""What is known of the captions of a source: stored values by place, and those that are missing, measured.

Belongs here: finding the values of captions among all that were ever stored. Does not belong here: computing values
(the parts, engine.py), deciding by them (verdicts.py).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa

from synthvlm_core import engine
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.measurements import Measurement
from synthvlm_core.store.shards import Folder
from synthvlm_core.store.sql import Scratch


class Values:
    """The values of one measurement for some captions of a source, in a scratch database.

    Of a caption that several shards hold, as two machines may leave it with other last bits, the row of the lowest
    values stands, whoever was first.
    """

    def __init__(self, scratch: Scratch, captions: Captions, measurement: Measurement, wanted: Chosen) -> None:
        """Nothing is known yet of the wanted captions."""
        self._scratch, self._captions, self._wanted = scratch, captions, wanted
        self.columns = [name for name in measurement.table.names if name != measurement.table.key]
        fields = [measurement.table.schema.field(name) for name in self.columns]
        self._relation = scratch.load(pa.schema([pa.field("place", pa.int64()), *fields]), [])
        self.known: Chosen = np.zeros(captions.rows, np.bool_)
        """The captions with a value."""

    @property
    def missing(self) -> Chosen:
        """The wanted captions without one."""
        return self._wanted & ~self.known

    def take(self, tables: Callable[[], Iterator[pa.Table]]) -> None:
        """Learn what stored tables hold; those of captions that are not wanted are passed over."""
        from synthvlm_core.captions import _places_kernels  # a recipe loads without numba

        repeated = False
        for places, table in self._captions.places.find(tables):
            taken = np.empty(len(places), np.bool_)
            repeated |= _places_kernels.mark(places, self._wanted, self.known, taken)
            rows = table.select(self.columns).add_column(0, "place", pa.array(places))
            self._scratch.add(self._relation, [rows if taken.all() else rows.filter(pa.array(taken))])
        if repeated:
            lowest = ", ".join(f"min({name}) as {name}" for name in self.columns)
            once = self._scratch.create(f"select place, {lowest} from {self._relation} group by place")
            self._scratch.drop(self._relation)
            self._relation = once

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """`place` and some columns of what is known, in no order."""
        return self._scratch.tables(f"select {', '.join(['place', *columns])} from {self._relation}", rows=100_000)


def measure(
    scratch: Scratch,
    captions: Captions,
    wanted: Chosen,
    measurement: Measurement,
    folder: Folder,
    *,
    shard_rows: int,
    progress: Progress = silent,
) -> tuple[Values, int]:
    """The values of the wanted captions, and how many were measured now, which no sound shard held.

    Args:
        shard_rows: most rows per shard; the measurement's own number stands if it is lower.
    """
    values = Values(scratch, captions, measurement, wanted)
    columns = ["caption_id", *values.columns]
    values.take(partial(folder.sound_tables, columns))
    missing = values.missing
    total = int(np.count_nonzero(missing))
    if total:
        parts = captions.tables(missing, ["caption_id", "text"], rows=min(shard_rows, measurement.shard_rows))
        shards = engine.measure(measurement, folder, parts, total=total, progress=progress)
        values.take(partial(folder.tables, [shard.name for shard in shards], columns))
    return values, total
