"""The engine: measure what is wanted and not stored, shard by shard.

Belongs here: the one loop of all measurements, where a cluster, a service or a progress bar plugs in. Does not belong
here: what is measured (parts) and what is wanted (the stages).

Wanted rows come in the order of ids, so that two runs at once cut the same shards, meet on the same names and store
them once. A shard names itself by its bytes, so an engine may repeat and lose tasks freely.
"""

from collections.abc import Iterable
from functools import partial

import pyarrow as pa

from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.shards import Folder, Shard
from synthvlm_core.store.sql import Relation, Scratch


def measure(
    measurement: Measurement,
    folder: Folder,
    parts: Iterable[pa.Table],
    *,
    total: int,
    what: str | None = None,
    progress: Progress = silent,
) -> list[Shard]:
    """Measure tables of wanted rows, each into a shard of its own, in this process.

    Args:
        parts: rows that `measurement` takes, each table at most a shard's worth, in the order of ids.
        total: rows of all parts together.
        what: what progress is told as, by default the table's name.

    Returns:
        The shards in their order. Nothing is loaded if there are no parts.
    """
    what = what or measurement.table.name
    function: Measure | None = None
    shards: list[Shard] = []
    done = 0
    for part in parts:
        function = function or measurement.load()
        progress(what, done, total)
        rows = function(part, partial(_told, progress, what, done, total))
        shards.append(folder.put(rows, row_group_size=measurement.row_group_rows))
        done += part.num_rows
    progress(what, total, total)
    return shards


def _told(progress: Progress, what: str, before: int, total: int, count: int) -> None:
    """Tell the rows of earlier parts and `count` of this one."""
    progress(what, before + count, total)


def measure_missing(
    scratch: Scratch,
    measurement: Measurement,
    folder: Folder,
    wanted: Relation,
    *,
    shard_rows: int | None = None,
    progress: Progress = silent,
) -> tuple[Relation, int]:
    """Measure the wanted rows that no sound shard holds.

    Args:
        wanted: a relation with the table's key and whatever else the measurement takes.
        shard_rows: most rows per shard; the measurement's own number stands if it is lower.

    Returns:
        A relation with one row of values per wanted key, and how many were measured now. Of a key that several shards
        hold, as two machines may leave it with other last bits, the row of the lowest values stands, whoever was first.
    """
    key, table = measurement.table.key, measurement.table
    stored = scratch.load(table.schema, (rows for _, rows in folder.sound()))
    missing = scratch.create(f"select {key} from {wanted} anti join {stored} using ({key})")
    total = scratch.count(missing)
    rows = min(shard_rows or measurement.shard_rows, measurement.shard_rows)
    shards = measure(
        measurement,
        folder,
        scratch.tables(f"select * from {wanted} semi join {missing} using ({key}) order by {key}", rows=rows),
        total=total,
        progress=progress,
    )
    scratch.add(stored, folder.tables(shard.name for shard in shards))
    values = ", ".join(f"min({name}) as {name}" for name in table.names if name != key)
    found = scratch.create(f"select {key}, {values} from {stored} semi join {wanted} using ({key}) group by {key}")
    scratch.drop(stored)
    scratch.drop(missing)
    return found, total
