"""The engine: measure what is wanted, shard by shard.

Belongs here: the one loop of all measurements, where a cluster, a service or a progress bar plugs in. Does not belong
here: what is measured (parts) and what is wanted (the stages).

Wanted rows come in an order that their content alone decides, so that two runs at once cut the same shards, meet on the
same names and store them once. A shard names itself by its bytes, so an engine may repeat and lose tasks freely.
"""

from collections.abc import Iterable
from functools import partial

import pyarrow as pa

from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.measurements import Measure, Measurement, Partly
from synthvlm_core.store.shards import Folder, Shard


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
        parts: rows that `measurement` takes, each table at most a shard's worth.
        total: rows of all parts together.
        what: what progress is told as, by default the table's name.

    Returns:
        The shards in their order. Nothing is loaded if there are no parts.

    Raises:
        Mendable: whatever a measurement raises; what it measured before, it may hand over in `Partly`.
    """
    what = what or measurement.table.name
    function: Measure | None = None
    shards: list[Shard] = []
    done = 0
    for part in parts:
        function = function or measurement.load()
        progress(what, done, total)
        try:
            rows = function(part, partial(_told, progress, what, done, total))
        except Partly as partly:
            if partly.rows.num_rows:
                folder.put(partly.rows, row_group_size=measurement.row_group_rows)
            raise partly.error from None
        shards.append(folder.put(rows, row_group_size=measurement.row_group_rows))
        done += part.num_rows
    progress(what, total, total)
    return shards


def _told(progress: Progress, what: str, before: int, total: int, count: int) -> None:
    """Tell the rows of earlier parts and `count` of this one."""
    progress(what, before + count, total)
