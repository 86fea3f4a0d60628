"""Work in processes of their own, which may be killed, and which no work outlives.

Belongs here: starting, waiting with an end, killing, what a process said. Does not belong here: the work.

A process is forked from this one, which has imported everything and never works itself: no threads are lost in the
fork, and a run begins within a hundredth of a second instead of ten seconds of imports.
"""

import contextlib
import io
import multiprocessing
import os
import pickle
import signal
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FORK = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    value: Any = None
    """What the work returned."""
    error: BaseException | None = None
    """What it raised."""
    trace: str = ""
    signal: int = 0
    """What killed it."""
    hung: bool = False
    """Whether it was killed because its time was over."""
    log: str = ""
    """The end of what it printed."""


class Running:
    """A process at work.

    Args:
        work: called in the process.
        folder: for temporary files, and for what it says.
    """

    def __init__(self, work: Callable[[], Any], folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder.parent / f"{time.monotonic_ns()}.log"
        self._receive, send = _FORK.Pipe(duplex=False)
        self._process = _FORK.Process(target=_body, args=(work, folder, send, self._log))
        self._process.start()
        send.close()

    def wait(self, seconds: float, *, kill: int = 0) -> Ended:
        """Wait until it ends; after `seconds` it gets the signal `kill`, or is taken for hung and killed.

        A process that does not die of another signal than SIGKILL within ten seconds is hung.
        """
        end = time.monotonic() + seconds
        answer = self._answer(end)
        hung = False
        if answer is None and self._process.is_alive():
            if kill:
                self._signal(kill)
                answer = self._answer(time.monotonic() + 10)
            if answer is None and self._process.is_alive():
                hung = kill != signal.SIGKILL
                self._signal(signal.SIGKILL)
        self._process.join()
        self._receive.close()
        log = self._log.read_text(errors="replace")[-4000:] if self._log.exists() else ""
        with contextlib.suppress(FileNotFoundError):
            self._log.unlink()
        died = -(self._process.exitcode or 0)
        self._process.close()
        if answer is None:
            return Ended(signal=max(died, 0), hung=hung, log=log)
        return Ended(**answer, log=log)

    def _answer(self, end: float) -> dict[str, Any] | None:
        try:
            if self._receive.poll(max(0.0, end - time.monotonic())):
                return dict(pickle.loads(self._receive.recv_bytes()))
        except EOFError:  # it died
            self._process.join(1)
        return None

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid or 0, number)


def run(work: Callable[[], Any], folder: Path, seconds: float) -> Ended:
    """Run something to its end, or for at most some seconds."""
    return Running(work, folder).wait(seconds)


def _body(work: Callable[[], Any], folder: Path, send: Any, log: Path) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = str(folder)  # Python would find out by writing there, and leave a file if killed just then
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(out, 1)
    os.dup2(out, 2)
    answer: dict[str, Any]
    try:
        answer = {"value": work()}
    except BaseException as error:  # noqa: BLE001  # told to whoever waits
        answer = {"error": error, "trace": traceback.format_exc()}
    try:
        data = pickle.dumps(answer)
    except Exception:  # noqa: BLE001  # an error that cannot be sent is sent by its words
        answer["error"] = RuntimeError(f"{type(answer['error']).__name__}: {answer['error']}")
        data = pickle.dumps(answer)
    with contextlib.suppress(io.UnsupportedOperation, BrokenPipeError):
        send.send_bytes(data)
    os._exit(0)
