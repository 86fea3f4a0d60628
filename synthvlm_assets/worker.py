"""The worker process: one partition of one stage, started through Dagster Pipes.

Belongs here: reading what Dagster passes, making the stage, reporting. Does not belong here: the work itself. Started
as `python -m synthvlm_assets.worker <stage>`.

A failure that a person can mend (a bad file, a missing input) is reported as a message and ends the process with
status 0; the asset turns it into a Failure without retries. Anything else is a crash with a traceback.
"""

import os
import sys

os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' progress bars: ours are log lines that Dagster keeps

from dagster_pipes import PipesContext, open_dagster_pipes

from synthvlm_core import graph
from synthvlm_core.errors import MENDABLE
from synthvlm_core.progress import Progress
from synthvlm_core.recipe import loading
from synthvlm_core.store.objects import Store

PROGRESS_EVENTS = 20
"""Progress lines per run: Dagster stores every one."""


def main(name: str) -> None:
    """Make a stage as Dagster asked for it and report data version and counts."""
    with open_dagster_pipes() as pipes:
        recipe, store = loading.loads(pipes.get_extra("recipe")), Store(pipes.get_extra("store"))
        try:
            manifest = graph.stage(name)(store, recipe, pipes.get_extra("partition")).make(_progress(pipes))
        except MENDABLE as error:
            pipes.report_custom_message({"failure": f"{type(error).__name__}: {error}"})
            return
        counts = {key: value for key, value in manifest.items() if isinstance(value, int) and key != "version"}
        pipes.report_asset_materialization(metadata=counts, data_version=manifest["content_hash"])


def _progress(pipes: PipesContext) -> Progress:
    """Log about twenty lines per kind of work, however many shards there are."""
    reported: dict[str, int] = {}

    def report(what: str, done: int, total: int) -> None:
        step = PROGRESS_EVENTS if total == 0 else done * PROGRESS_EVENTS // total
        if step > reported.get(what, -1):
            reported[what] = step
            pipes.log.info(f"{what}: {done:,} of {total:,}")

    return report


if __name__ == "__main__":
    main(*sys.argv[1:])
