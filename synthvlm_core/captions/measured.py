"""What is known of the captions of a source: stored values by place, and those that are missing, measured.

Belongs here: finding the values of captions among all that were ever stored. Does not belong here: computing values
(the parts, engine.py), deciding by them (verdicts.py).
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from synthvlm_core import engine
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.captions.original_images import OriginalImages, halves
from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.measurements import Measurement
from synthvlm_core.store.shards import Folder
from synthvlm_core.store.sql import Scratch


class Values:
    """The values of one measurement for some captions of a source, in a scratch database.

    Of a caption that several shards hold, as two machines may leave it with other last bits, the row of the lowest
    values stands, whoever was first.
    """

    def __init__(
        self,
        scratch: Scratch,
        captions: Captions,
        measurement: Measurement,
        wanted: Chosen,
        *,
        of: NDArray[np.uint64] | None = None,
    ) -> None:
        """Nothing is known yet of the wanted captions.

        Args:
            of: by place the first half of the original id, where values are of captions and their original images;
                those of another image are passed over.
        """
        self._scratch, self._captions, self._wanted, self.of = scratch, captions, wanted, of
        apart = (measurement.table.key, "original_id")
        self.columns = [name for name in measurement.table.names if name not in apart]
        self.read = ["caption_id", *([] if of is None else ["original_id"]), *self.columns]
        """The columns of stored values that `take` needs."""
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
            if self.of is not None:
                places = np.where(self.of[places] == halves(table["original_id"]), places, -1)
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
    originals: OriginalImages | None = None,
) -> tuple[Values, int]:
    """The values of the wanted captions, and how many were measured now, which no sound shard held.

    Args:
        shard_rows: most rows per shard; the measurement's own number stands if it is lower.
        originals: of a measurement that takes originals, what is known of them; all wanted captions have one.
    """
    values = Values(scratch, captions, measurement, wanted, of=None if originals is None else originals.ids)
    values.take(partial(folder.sound_tables, values.read))
    missing = values.missing
    total = int(np.count_nonzero(missing))
    if total:
        rows = min(shard_rows, measurement.shard_rows)
        if originals is None:
            parts = captions.tables(missing, ["caption_id", "text"], rows=rows)
        else:
            parts = originals.pictures(missing, rows=rows)
        shards = engine.measure(measurement, folder, parts, total=total, progress=progress)
        values.take(partial(folder.tables, [shard.name for shard in shards], values.read))
    return values, total
