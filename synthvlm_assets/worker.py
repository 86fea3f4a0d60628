"""The worker process: one partition of one stage, made or checked, started through Dagster Pipes.

Belongs here: reading what Dagster passes, calling the core, reporting. Does not belong here: the work itself. Started
by compute.py, under a guard (process.py), as

    python -m synthvlm_assets.worker <stage> make <module>:<what is shown of it>
    python -m synthvlm_assets.worker <stage> check <module>:<property> ...

A failure that a person can mend (a bad file, a missing input, a full disk) becomes the process's last words; the asset
turns them into a Failure without retries. Anything else is a crash with a traceback.
"""

import os
import sys

from synthvlm_assets import process

if __name__ == "__main__":
    TELLER = process.under_guard()  # first: whatever is imported later may start threads

os.environ.setdefault("TQDM_DISABLE", "1")  # libraries' progress bars: ours are log lines that Dagster keeps

import importlib
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from dagster_pipes import PipesContext, open_dagster_pipes

from synthvlm_assets import progress
from synthvlm_core import graph
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words
from synthvlm_core.progress import Progress
from synthvlm_core.recipe import loading
from synthvlm_core.stages import Stage
from synthvlm_core.store.objects import Store

PROGRESS_EVENTS = 20
"""Progress lines per run: Dagster stores every one."""


def main(teller: process.Teller, name: str, task: str, *places: str) -> None:
    """Make or check a stage as Dagster asked for it and report what came of it."""
    failure: Mendable | None = None
    try:
        with in_words(), open_dagster_pipes() as pipes:
            try:
                with in_words():
                    run(teller, pipes, name, task, *places)
            except Mendable as error:  # caught within, since Pipes would report a traceback
                failure = error
    except Mendable as error:  # messages cannot be written
        failure = failure or error
    if failure is not None:
        teller.fail(f"{type(failure).__name__}: {failure}")


def run(teller: process.Teller, pipes: PipesContext, name: str, task: str, *places: str) -> None:
    """Make a stage, or look at its properties one after the other."""
    recipe, store = loading.loads(pipes.get_extra("recipe")), Store(pipes.get_extra("store"))
    stage = graph.stage(name)(store, recipe, pipes.get_extra("partition"))
    if task == "make":
        make(stage, places[0], teller, pipes)
        return
    note = progress.noting(stage.name, stage.partition)
    for number, place in enumerate(places):
        note("checks", number, len(places))
        check(stage, place, teller, pipes)


def make(stage: Stage, place: str, teller: process.Teller, pipes: PipesContext) -> None:
    """Make a stage and report data version, counts and what is shown of it."""
    manifest = stage.make(_progress(stage, teller, pipes))
    teller.tell("show what was made")
    counts = {key: value for key, value in manifest.items() if isinstance(value, int) and key != "version"}
    shown = _function(place)(stage)
    pipes.report_asset_materialization(metadata={**counts, **shown}, data_version=manifest["content_hash"])


def check(stage: Stage, place: str, teller: process.Teller, pipes: PipesContext) -> None:
    """Find out whether a property holds and report it."""
    holds = _function(place)
    teller.tell(f"check {holds.__name__}")
    finding = graph.look(stage, holds)
    pipes.report_custom_message({"property": holds.__name__, "finding": asdict(finding)})


def _function(place: str) -> Callable[[Stage], Any]:
    """The function of a module."""
    module, _, name = place.partition(":")
    function: Callable[[Stage], Any] = getattr(importlib.import_module(module), name)
    return function


def _progress(stage: Stage, teller: process.Teller, pipes: PipesContext) -> Progress:
    """Tell whoever watches every report, and log about twenty per kind of work, however many shards there are."""
    reported: dict[str, int] = {}
    note = progress.noting(stage.name, stage.partition)

    def report(what: str, done: int, total: int) -> None:
        teller.tell(f"{what}: {done:,} of {total:,}")
        note(what, done, total)
        kind = what.partition(":")[0]
        step = PROGRESS_EVENTS if total == 0 else done * PROGRESS_EVENTS // total
        if step > reported.get(kind, -1):
            reported[kind] = step
            pipes.log.info(f"{what}: {done:,} of {total:,}")

    return report


if __name__ == "__main__":
    process.leave(lambda: main(TELLER, *sys.argv[1:]))
