"""How stages are called: each in a worker process of its own, through Dagster Pipes.

Belongs here: starting the worker, its limits, turning its report or its death into words. Does not belong here: what
the worker does (worker.py, synthvlm_core), how a process is guarded and ended (process.py).

    SYNTHVLM_SILENT_SECONDS     a worker that tells nothing new for so long is taken for stuck, ended and tried again;
                                3600 unless set. Loading or fetching a large model tells nothing.
"""

import contextlib
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_pipes import PipesDefaultMessageWriter

from synthvlm_assets import process
from synthvlm_assets.metadata import Metadata
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable
from synthvlm_core.findings import Finding
from synthvlm_core.machine import in_words
from synthvlm_core.recipe import loading
from synthvlm_core.stages import Stage
from synthvlm_core.store import temporary

CODE_VERSION_TAG = "dagster/code_version"
"""Set by hand: the recipe that a run carries may be older than the one loaded."""
MAX_RETRIES = 2
"""For workers that crash, hang or are killed; what a person must mend is a Failure without retries."""
SILENT_SECONDS = 3600.0
MEMORY_BYTES = {RawCaptions.name: 8 << 30}
"""Most that a worker may hold: reading foreign files needs less than 2 GB, whatever they hold."""
CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
"""Signals by which compiled code ends its process: what it did would end it so again."""


@contextlib.contextmanager
def tried_again(context: dg.OpExecutionContext) -> Iterator[None]:
    """Ask Dagster for another try of a step where that may help; what a person must mend is told, once.

    No `RetryPolicy` does this: Dagster applies one to steps of runs that are being canceled, too.
    """
    try:
        with in_words():
            yield
    except Mendable as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from None
    except Exception as error:
        if isinstance(error, dg.Failure) and not error.allow_retries:
            raise
        raise dg.RetryRequested(MAX_RETRIES, seconds_to_wait=2.0**context.retry_number) from error


class Worker:
    """Makes and checks stages in processes that end with their work and give all memory back."""

    def make(
        self, context: dg.AssetExecutionContext, stage: Stage, shown: Callable[[Any], Metadata]
    ) -> dg.MaterializeResult:
        """Make one partition of a stage. The result has data version, counts, and what is shown of it.

        Args:
            shown: a function of a module, from a stage object, made, to what a person wants to see of it.

        Raises:
            dagster.Failure: with the worker's own words where a person can mend the cause, and where it crashed at
                the same place before: without retries. With retries if it crashed, hung or was killed.
        """
        session = _run(context.op_execution_context, stage, ["make", _place(shown)])
        for result in session.get_reported_results():
            if isinstance(result, dg.MaterializeResult):
                return result
        raise _cut_off(stage)

    def check(
        self, context: dg.AssetCheckExecutionContext, stage: Stage, holds: Sequence[Callable[[Any], Finding]]
    ) -> list[Finding]:
        """Find out whether properties hold for one partition of a stage, all in one process.

        Raises:
            dagster.Failure: as `make` does.
        """
        session = _run(context.op_execution_context, stage, ["check", *map(_place, holds)])
        found = {message["property"]: Finding(**message["finding"]) for message in session.get_custom_messages()}
        if len(found) < len(holds):
            raise _cut_off(stage)
        return [found[function.__name__] for function in holds]


def _place(function: Callable[..., Any]) -> str:
    return f"{function.__module__}:{function.__name__}"


def _run(context: dg.OpExecutionContext, stage: Stage, task: Sequence[str]) -> dg.PipesSession:
    """Run a worker to its end. The session has what it reported."""
    with temporary.folder("worker") as folder:
        reader = _MessageReader(folder / "messages")
        injector = dg.PipesFileContextInjector(str(folder / "context"))
        extras = {
            "recipe": loading.dumps(stage.recipe),
            "store": stage.store.url(),
            # Pipes itself passes no key where a run names its one partition as a range, as some backfills do
            "partition": stage.partition,
        }
        with dg.open_pipes_session(context, injector, reader, extras) as session:
            ended = process.run(
                [sys.executable, "-m", "synthvlm_assets.worker", stage.name, *task],
                {**os.environ, **session.get_bootstrap_env_vars()},
                silent_seconds=_silent_seconds(),
                memory_bytes=MEMORY_BYTES.get(stage.name),
                meanwhile=reader.read,
            )
            reader.read()
    if ended.status == process.FAILED:
        raise dg.Failure(ended.doing, allow_retries=False)
    if ended.status != 0:
        raise _death(context, stage, ended)
    return session


def _silent_seconds() -> float:
    told = os.environ.get("SYNTHVLM_SILENT_SECONDS") or str(SILENT_SECONDS)
    try:
        seconds = float(told)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise dg.Failure(
            f"SYNTHVLM_SILENT_SECONDS is {told!r}: set it to a number of seconds above 0, or unset it",
            allow_retries=False,
        )
    return seconds


def _death(context: dg.OpExecutionContext, stage: Stage, ended: process.Ended) -> dg.Failure:
    """A worker's death in words: which, how, at what, and what to do."""
    again = True
    if ended.silent_seconds:
        how = f"told nothing new for {ended.silent_seconds:,.0f} s and was ended"
        remedy = "the log of the step shows where each of its threads was. If it only needs longer, set "
        remedy += "SYNTHVLM_SILENT_SECONDS to more seconds and start again"
    elif ended.held_bytes:
        how = f"held {ended.held_bytes / 1e9:.1f} GB of memory and was ended"
        remedy = "no sound file needs so much: mend the file named above or take it out of the recipe"
        again = False
    elif ended.status > 0:
        how = f"ended with status {ended.status}"
        remedy = "its traceback stands in the log of the run"
    elif (ended_by := signal.Signals(-ended.status)) in CRASHES:
        how = f"was ended by {ended_by.name}, a crash in compiled code"
        remedy = "the log of the step shows where. If that is in reading a file, mend the file named above or take it "
        remedy += "out of the recipe"
        again = False
    else:
        how = f"was ended by {ended_by.name} from outside"
        remedy = "if nobody did that, the system ran out of memory: give it more, or run less at a time"
    told = (f"the worker of {stage.name} of {stage.partition!r} {how}", f"what it did last: {ended.doing}", remedy)
    words = " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in told)
    return dg.Failure(words, allow_retries=again or not _died_so_before(context, ended.doing))


def _died_so_before(context: dg.OpExecutionContext, doing: str) -> bool:
    """Whether this step is a retry after a worker that died at the same place."""
    events = context.instance.all_logs(context.run_id, of_type=dg.DagsterEventType.STEP_UP_FOR_RETRY)
    step = context.get_step_execution_context().step.key
    return any(
        entry.step_key == step and f"What it did last: {doing}. " in str(entry.get_dagster_event().step_retry_data)
        for entry in events
    )


def _cut_off(stage: Stage) -> dg.Failure:
    return dg.Failure(
        f"The worker of {stage.name} of {stage.partition!r} ended without a report; what it stored stays. "
        "Was the folder for temporary files full or emptied meanwhile?"
    )


class _MessageReader(dg.PipesMessageReader):
    """Reads a worker's messages when it is told to, whole lines only.

    Dagster's own readers take half a line, such as a killed worker leaves or one sees of a long one that is still being
    written, for a message, and read nothing more.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._rest = path, b""

    @contextlib.contextmanager
    def read_messages(self, handler: Any) -> Iterator[dict[str, Any]]:
        """Where a worker is to write its messages."""
        with self._path.open("a+b") as self._file:
            self._handler = handler
            yield {PipesDefaultMessageWriter.FILE_PATH_KEY: str(self._path)}

    def read(self) -> None:
        """Hand over what came since."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            self._handler.handle_message(json.loads(line))

    def no_messages_debug_text(self) -> str:
        """Where one looks for a worker that said nothing."""
        return "The worker did not come so far as to open its messages."
