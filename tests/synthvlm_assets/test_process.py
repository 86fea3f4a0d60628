"""Processes under guard: their ends, their limits, and that nothing of them outlives who started them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from synthvlm_assets import process
from synthvlm_assets.process import Ended

WORKER = """
import itertools, collections, os, pathlib, signal, subprocess, sys, time
from synthvlm_assets import process
teller = process.under_guard()
pids = pathlib.Path(sys.argv[1])
def forever():
    "Spin in compiled code, which answers no signal and lets no other thread run."
    collections.deque(itertools.repeat(None), maxlen=0)
def note_pids(*others):
    (pids.parent / "new").write_text(" ".join(map(str, [os.getpid(), os.getppid(), *others])))
    os.replace(pids.parent / "new", pids)
def with_child():
    "Note the pids of worker, guard and a process that the worker started and that ignores SIGTERM."
    ignore = lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note_pids(subprocess.Popen(["sleep", "1000"], preexec_fn=ignore).pid)
"""


def command(tmp_path: Path, code: str) -> list[str]:
    return [sys.executable, "-c", WORKER + code, str(tmp_path / "pids")]


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., Ended]:
    def start(code: str, meanwhile: Callable[[], None] = lambda: None, **limits: float) -> Ended:
        asked = {"silent_seconds": 60.0, "memory_bytes": None, **limits}
        return process.run(command(tmp_path, code), dict(os.environ), meanwhile=meanwhile, **asked)  # type: ignore[arg-type]

    return start


@dataclass
class Noted:
    """The processes that `note_pids` told: the worker, its guard, what it started."""

    file: Path

    def there(self) -> bool:
        return self.file.exists()

    def pids(self) -> list[int]:
        waited(self.there, 20)
        return list(map(int, self.file.read_text().split()))

    def gone(self) -> bool:
        return not any(map(alive, self.pids()))


@pytest.fixture
def noted(tmp_path: Path) -> Iterator[Noted]:
    found = Noted(tmp_path / "pids")
    yield found
    for pid in found.pids() if found.there() else ():
        if alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def waited(condition: Callable[[], bool], seconds: float) -> float:
    """How long it took until a condition held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, "waited in vain"
        time.sleep(0.02)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("", 0),
        ("sys.exit(3)", 3),
        ("raise RuntimeError('broken')", 1),
        ("import ctypes; ctypes.string_at(0)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
    ],
    ids=["well", "status", "error", "crash", "killed"],
)
def test_a_process_ends_as_its_worker_does(run, code: str, status: int) -> None:
    assert run("teller.tell('files: one.json: 1 of 2')\n" + code) == Ended(status, "files: one.json: 1 of 2")


@pytest.mark.parametrize(("work", "status"), [("lambda: None", 0), ("lambda: 1 / 0", 1), ("lambda: sys.exit(5)", 5)])
def test_nothing_happens_after_the_work(run, work: str, status: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Arrow's threads make an interpreter abort now and then while it is taken down; here it surely does."""
    assert run(f"import atexit; atexit.register(os.abort); process.leave({work})").status == status
    assert ("ZeroDivisionError" in capfd.readouterr().err) == (status == 1)


def test_what_a_worker_started_and_left_behind_goes_with_it(run, noted: Noted) -> None:
    assert run("with_child()").status == 0
    waited(noted.gone, 2)


@pytest.mark.parametrize("stuck", ["forever()", "os.kill(os.getpid(), signal.SIGSTOP)"], ids=["compiled", "stopped"])
def test_who_tells_nothing_new_is_ended(run, noted: Noted, stuck: str) -> None:
    ended = run("with_child(); teller.tell('shard 7')\n" + stuck, silent_seconds=1.0)
    assert ended.doing == "shard 7"
    assert ended.silent_seconds > 1.0
    assert noted.gone()


def test_telling_the_same_again_and_again_is_no_progress(run) -> None:
    told = "while True:\n    teller.tell('shard 7'); time.sleep(0.01)"
    assert run(told, silent_seconds=1.0).silent_seconds > 1.0


def test_who_goes_on_slowly_is_left_alone(run) -> None:
    slow = "for shard in range(5):\n    teller.tell(f'shard {shard}'); time.sleep(0.5)"
    assert run(slow, silent_seconds=1.5) == Ended(0, "shard 4")


def test_where_a_stuck_worker_is_stands_in_its_log(run, capfd: pytest.CaptureFixture[str]) -> None:
    run("def turns_for_ever():\n    forever()\nturns_for_ever()", silent_seconds=0.5)
    assert "in turns_for_ever" in capfd.readouterr().err


def test_who_holds_too_much_is_ended(run) -> None:
    grows = "held = []\nwhile True:\n    held.append(b'x' * (8 << 20)); time.sleep(0.01)"
    ended = run("teller.tell('files: deep.json')\n" + grows, memory_bytes=200 << 20)
    assert (ended.status, ended.doing) == (-signal.SIGKILL, "files: deep.json")
    assert 200 << 20 < ended.held_bytes < 1 << 30


@pytest.mark.parametrize("stuck", ["time.sleep(1000)", "forever()"], ids=["waiting", "compiled"])
def test_an_interrupt_ends_all(run, noted: Noted, stuck: str) -> None:
    interrupted = []

    def meanwhile() -> None:
        if noted.there():
            interrupted.append(time.monotonic())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("with_child()\n" + stuck, meanwhile)
    assert time.monotonic() - interrupted[0] < process.GRACE_SECONDS + 2
    assert noted.gone()


def test_an_interrupted_worker_tidies_up(run, noted: Noted, tmp_path: Path) -> None:
    def meanwhile() -> None:
        if noted.there():
            raise KeyboardInterrupt

    tidy = "try:\n    note_pids(); time.sleep(1000)\nfinally:\n    pids.with_name('tidied').touch()"
    with pytest.raises(KeyboardInterrupt):
        run(tidy, meanwhile)
    assert (tmp_path / "tidied").exists()


RUN = """
import os, sys
from synthvlm_assets import process
process.run(sys.argv[1:], dict(os.environ), silent_seconds=60, memory_bytes=None, meanwhile=lambda: None)
"""


@pytest.mark.parametrize("stuck", ["time.sleep(1000)", "forever()"], ids=["waiting", "compiled"])
def test_nothing_outlives_who_started_it(noted: Noted, tmp_path: Path, stuck: str) -> None:
    """The process that holds the lifeline is killed, and can do nothing any more."""
    holder = subprocess.Popen([sys.executable, "-c", RUN, *command(tmp_path, "with_child()\n" + stuck)])
    assert all(map(alive, noted.pids()))
    holder.kill()
    holder.wait()
    assert waited(noted.gone, 20) < process.GRACE_SECONDS + 2


def test_a_worker_does_not_outlive_its_guard(run, noted: Noted) -> None:
    def meanwhile() -> None:
        if noted.there():
            os.kill(noted.pids()[1], signal.SIGKILL)

    assert run("with_child()\nforever()", meanwhile).status == -signal.SIGKILL
    waited(noted.gone, 2)


def test_no_file_is_left_by_the_killed(noted: Noted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    holder = subprocess.Popen([sys.executable, "-c", RUN, *command(tmp_path, "note_pids(); time.sleep(1000)")])
    noted.pids()
    holder.kill()
    holder.wait()
    waited(noted.gone, 20)
    assert list((tmp_path / "tmp").iterdir()) == []
