"""A process that is watched, can be ended whole, and never outlives the one that started it.

Belongs here: starting such a process, its guard, what it tells of itself, its end. Does not belong here: what it works
on (worker.py) and what becomes of its end (compute.py). Imports nothing heavy: a guard has this module in memory.

    run ──lifeline──► guard ──fork──► worker and whatever it starts: one process group

Whoever started the process holds one end of a pipe, its lifeline. The guard waits for that end to be let go, which the
kernel does for a holder that is killed, and then ends the whole group: by SIGTERM, and by SIGKILL after some seconds.
The guard is a process of its own, since a thread of the worker would wait with it for a lock that is never released.
What a worker tells stands in a file without a name, which neither blocks nor outlives anybody.
"""

import faulthandler
import os
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

GRACE_SECONDS = 4.0
"""Between asking a group to end and ending it."""
_WAIT_SECONDS = 0.05
_LOOK_SECONDS = 0.2
_DESCRIPTORS = "SYNTHVLM_PROCESS"
_NOTE_BYTES = 2048
_LAST_WORDS_BYTES = 65536
FAILED = 3
"""The exit status of a process whose last words say what a person must mend."""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    """Its exit status; minus the signal's number if a signal ended it."""
    doing: str
    """What it told last; with status `FAILED` what a person must mend."""
    silent_seconds: float = 0.0
    """How long it had told nothing new when it was ended for that, else 0."""
    held_bytes: int = 0
    """How much memory it held when it was ended for that, else 0."""


def run(
    command: Sequence[str],
    environment: dict[str, str],
    *,
    silent_seconds: float,
    memory_bytes: int | None,
    meanwhile: Callable[[], None],
) -> Ended:
    """Run a command that calls `under_guard`, to its end or to that of a limit; all that it started ends with it.

    An exception that comes meanwhile, such as an interrupt, ends the process too.

    Args:
        silent_seconds: how long it may tell nothing new.
        memory_bytes: how much it may hold that is not backed by files, None for what there is.
        meanwhile: called some times a second while it runs.
    """
    with tempfile.TemporaryFile(prefix="synthvlm-") as note, _Lifeline() as lifeline:
        os.write(note.fileno(), bytes(_LAST_WORDS_BYTES))  # room for last words that the disk is full
        environment = {**environment, _DESCRIPTORS: f"{lifeline.far} {note.fileno()}"}
        process = lifeline.start(command, environment, note.fileno())
        told, told_at, looked_at = "", time.monotonic(), 0.0
        while (status := process.poll()) is None:
            meanwhile()
            now = time.monotonic()
            if now - looked_at >= _LOOK_SECONDS:
                looked_at = now
                worker, doing = _read(note.fileno())
                if doing != told:
                    told, told_at = doing, now
                if memory_bytes is not None and (held := _held(worker)) > memory_bytes:
                    lifeline.send(signal.SIGKILL)
                    return Ended(-signal.SIGKILL, doing, held_bytes=held)
                if now - told_at > silent_seconds:
                    lifeline.send(signal.SIGABRT)  # the worker writes where each of its threads is, and dies
                    return Ended(-signal.SIGABRT, doing, silent_seconds=now - told_at)
            time.sleep(_WAIT_SECONDS)
        return Ended(status, _read(note.fileno())[1])


class Teller:
    """How a process says what it does."""

    def __init__(self, note: int) -> None:
        self._note = note

    def tell(self, doing: str) -> None:
        """Overwrite what was told before. Costs a microsecond; waits for nobody."""
        self._write(doing, _NOTE_BYTES)

    def fail(self, words: str) -> NoReturn:
        """End the process with its last words: what a person must mend. They come through even where the disk is full
        and nothing else can be written."""
        self._write(words, _LAST_WORDS_BYTES)
        sys.exit(FAILED)

    def _write(self, words: str, room: int) -> None:
        text = f"{os.getpid()} {words}".encode(errors="replace")[:room]
        os.pwrite(self._note, text.ljust(room, b"\0"), 0)


def under_guard() -> Teller:
    """Go on in a new process, guarded by the one that called. To be called before any thread is started.

    SIGTERM then ends the process as `sys.exit` does, so that what it holds is tidied up.
    """
    lifeline, note = (int(number) for number in os.environ.pop(_DESCRIPTORS).split())
    worker = os.fork()
    if worker:
        _guard(worker, lifeline)
    os.close(lifeline)
    faulthandler.enable()  # a death by signal leaves a traceback in the log
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    teller = Teller(note)
    teller.tell("starting")
    return teller


def leave(work: Callable[[], None]) -> NoReturn:
    """Do the last work of this process and end it there.

    An interpreter that is taken down while compiled libraries still have threads can abort, and has nothing left to do.
    """
    status: int | str | None = 1
    try:
        work()
        status = 0
    except SystemExit as end:
        status = end.code
    except BaseException:  # noqa: BLE001  # as the interpreter does it
        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status if isinstance(status, int) else 1)


def _guard(worker: int, lifeline: int) -> NoReturn:
    """Wait for the worker and end as it did; end it and its group when nobody holds the lifeline any more."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGABRT):
        signal.signal(number, signal.SIG_IGN)
    let_go = threading.Event()

    def watch() -> None:
        os.read(lifeline, 1)  # nobody writes: it returns when the other end is closed
        let_go.set()
        os.killpg(0, signal.SIGTERM)
        time.sleep(GRACE_SECONDS)  # the guard is gone as soon as the worker is
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    if let_go.is_set():  # nobody is left to ask; what the worker had started goes too, and the guard with it
        os.killpg(0, signal.SIGKILL)
    if status < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # it is not the guard that crashed
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


class _Lifeline:
    """The end of the pipe that is held here, and the process that lives as long as it is held."""

    def __init__(self) -> None:
        self.far, self._near = os.pipe()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> "_Lifeline":
        return self

    def start(self, command: Sequence[str], environment: dict[str, str], note: int) -> subprocess.Popen[bytes]:
        """Start the process, in a session and a process group of its own."""
        self._process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            pass_fds=(self.far, note),
            start_new_session=True,
        )
        return self._process

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all of the group."""
        try:
            os.killpg(self._process.pid, number) if self._process else None
        except ProcessLookupError:
            pass  # all gone

    def __exit__(self, *_: object) -> None:
        """Let go, wait until the worker is gone, and end what it left behind."""
        os.close(self.far)
        os.close(self._near)
        if self._process is not None:
            try:
                self._process.wait(GRACE_SECONDS + 2)
            except subprocess.TimeoutExpired:
                pass  # a guard that was stopped
            self.send(signal.SIGKILL)
            self._process.wait()


def _read(note: int) -> tuple[int, str]:
    """The worker's process id, 0 if it has none yet, and what it told last."""
    told = os.pread(note, _LAST_WORDS_BYTES, 0).partition(b"\0")[0]
    worker, _, doing = told.decode(errors="replace").partition(" ")
    return int(worker or 0), doing or "starting"


def _held(worker: int) -> int:
    """Bytes of memory that a process holds and that no file backs; 0 where the system does not say."""
    try:
        _, resident, shared, *_ = Path("/proc", str(worker), "statm").read_text().split()
    except OSError:  # gone, or no Linux
        return 0
    return (int(resident) - int(shared)) * resource.getpagesize()
