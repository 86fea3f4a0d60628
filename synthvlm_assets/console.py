"""What a person reads of Dagster: our own words, a line each in a terminal, and no traceback of what somebody meant.

Belongs here: which of a run's events are told and how, which warnings and tracebacks are not. Does not belong here:
what is told (the worker's progress, the checks, the errors), the event log, which keeps everything else.

    06:53:54  raw_captions of laion: files: 1 of 1
    06:53:54  raw_captions of laion: made
    06:53:56  raw_captions of laion: every_input_row_is_stored passed: all 1000 rows of 1 files
    06:53:57  curate_captions of laion: done in 4 s
"""

import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from types import TracebackType

import dagster as dg
from dagster._core.definitions import instigation_logger
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.events import DagsterEvent
from dagster._core.execution import context_creation_job
from dagster._core.execution.context.system import StepExecutionContext
from dagster._core.execution.plan import execute_plan
from dagster._core.execution.plan.objects import (
    ErrorSource,
    StepFailureData,
    UserFailureData,
    step_failure_event_from_exc_info,
)
from dagster._core.log_manager import LOG_RECORD_METADATA_ATTR, DagsterLogRecordMetadata, get_log_record_metadata
from dagster_shared.error import SerializableErrorInfo

from synthvlm_core.machine import mendable

_PARTITION = "dagster/partition"


def install() -> None:
    """Have this process tell what its runs tell, and what a person can mend, in their words alone.

    Dagster warns of features that it calls beta or preview: ours are pinned with its version, and tested. It takes the
    loggers of the definitions for runs that name one in their configuration, which nobody can; the others get its own.
    """
    for category in (dg.BetaWarning, dg.PreviewWarning):
        warnings.simplefilter("ignore", category)
    sys.excepthook = _excepthook
    setattr(context_creation_job, "default_system_loggers", lambda _: [(console, {})])  # noqa: B010
    setattr(instigation_logger, "create_console_logger", _of_sensors)  # noqa: B010
    setattr(execute_plan, "step_failure_event_from_exc_info", _failure)  # noqa: B010


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    found = error if isinstance(error, dg.DagsterUnknownPartitionError) else mendable(error)
    if found is not None:
        print(f"Error: {found}", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def _failure(
    step: StepExecutionContext,
    raised: tuple[type[BaseException], BaseException, TracebackType],
    user_failure_data: UserFailureData | None = None,
    error_source: ErrorSource | None = None,
) -> DagsterEvent:
    """A step's failure for the event log, without a traceback where somebody meant to fail: the UI shows it twice."""
    kind, error, _ = raised
    if not isinstance(error, dg.Failure | DagsterAssetCheckFailedError):
        event: DagsterEvent = step_failure_event_from_exc_info(step, raised, user_failure_data, error_source)
        return event
    told = SerializableErrorInfo(message=f"{error}\n", stack=[], cls_name=kind.__name__)
    failed: StepFailureData = StepFailureData(told, user_failure_data, error_source)  # type: ignore[no-untyped-call]
    return DagsterEvent.step_failure_event(step, failed)


@dg.logger(config_schema={}, description="What a run tells, a line each, on its process's stderr.")
def console(_: dg.InitLoggerContext) -> logging.Logger:
    """The logger of every run. The event log has all that this leaves out."""
    logger = logging.Logger("synthvlm.console", logging.DEBUG)
    logger.addHandler(_Lines())
    return logger


def why(failed: StepFailureData) -> str | None:
    """Why a step failed, in the words of whoever failed: with a traceback only if nobody meant to.

    None of one that ended since a blocking check did not pass: the check has said why.
    """
    if failed.error is not None and failed.error.cls_name == DagsterAssetCheckFailedError.__name__:
        return None
    told = failed.user_failure_data and failed.user_failure_data.description
    return told or (_words(failed.error) if failed.error else "no reason given")


def _words(error: SerializableErrorInfo) -> str:
    while error.cause is not None:
        error = error.cause
    return error.message.partition(": ")[2].strip() if error.cls_name == dg.Failure.__name__ else error.to_string()


def _print(where: str, words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')}  {where}: {words}", file=sys.stderr, flush=True)


def _of_sensors(*_: object) -> logging.Logger:
    logger = logging.Logger("synthvlm.sensors")
    logger.addHandler(_Warnings(logging.WARNING))
    return logger


class _Warnings(logging.Handler):
    """Writes what a sensor warns of; that it looked and found nothing to do stands in its ticks."""

    def emit(self, record: logging.LogRecord) -> None:
        said: Mapping[str, str] = getattr(record, LOG_RECORD_METADATA_ATTR, {})
        _print(said.get("name", record.name), said.get("orig_message") or record.getMessage())


class _Lines(logging.Handler):
    """Writes what one run tells."""

    def __init__(self) -> None:
        super().__init__()
        self._began = time.monotonic()
        self._started: set[str | None] = {None}

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = get_log_record_metadata(record)
            partition = said["job_tags"].get(_PARTITION)
            job = said["job_name"] if not str(said["job_name"]).startswith("__") else "run"  # Dagster's, of no name
            where = f"{said['step_key'] or job}{f' of {partition}' if partition else ''}"
            for words in self._told(record.levelno, said):
                _print(where, words)
        except Exception:  # noqa: BLE001  # as every handler does it: no run fails for a line
            self.handleError(record)

    def _told(self, level: int, said: DagsterLogRecordMetadata) -> Iterator[str]:
        if said["dagster_event"] is not None:
            yield from self._event(level, said["dagster_event"], said["orig_message"])
        # of a step that did not start Dagster tells why: one before it failed, which was told
        elif said["step_key"] in self._started and not said["orig_message"].startswith("[pipes]"):
            yield f"{'warning: ' if level >= logging.WARNING else ''}{said['orig_message']}"

    def _event(self, level: int, event: DagsterEvent, message: str) -> Iterator[str]:
        kind = event.event_type
        if kind == dg.DagsterEventType.STEP_START:
            self._started.add(event.step_key)
        elif kind == dg.DagsterEventType.ASSET_MATERIALIZATION:
            yield "made"
        elif kind == dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            how = "passed" if check.passed else "WARNS" if check.severity == dg.AssetCheckSeverity.WARN else "FAILED"
            yield f"{check.check_name} {how}: {check.description}"
        elif kind == dg.DagsterEventType.STEP_UP_FOR_RETRY:
            yield f"is tried again: {_words(event.step_retry_data.error)}"
        elif kind == dg.DagsterEventType.STEP_FAILURE:
            if reason := why(event.step_failure_data):
                yield f"FAILED: {reason}"
        elif kind == dg.DagsterEventType.RUN_FAILURE and event.job_failure_data.first_step_failure_event is not None:
            yield f"failed in {event.job_failure_data.first_step_failure_event.step_key}"
        elif kind == dg.DagsterEventType.RUN_SUCCESS:
            yield f"done in {time.monotonic() - self._began:.0f} s"
        elif level >= logging.ERROR:
            error = getattr(event.event_specific_data, "error", None)
            yield message if error is None else f"{message} {_words(error)}"
