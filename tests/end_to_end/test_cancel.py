"""Runs that are canceled or killed while they work, through the real daemon: workers gone, slots free, nothing lost."""

import os
import re
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.recipe.sections import Recipe

STANDING = """
    import collections, itertools, os, pathlib, sys, time
    from synthvlm_core.captions.filtered import FilteredCaptions
    from synthvlm_core.captions import checks
    folder = pathlib.Path({folder!r})
    make, sound = FilteredCaptions.make, checks.ids_are_sound
    def stand(where, stage):
        held, stuck = (folder / f"{{how}} {{where}} {{stage.partition}}" for how in ("held", "stuck"))
        if held.exists() or stuck.exists():
            (folder / "new").write_text(f"{{os.getpid()}} {{os.getppid()}}")
            (folder / "new").rename(folder / f"pids {{stage.partition}}")
        while held.exists():
            time.sleep(0.1)
        if stuck.exists():
            collections.deque(itertools.repeat(None), maxlen=0)  # compiled code that answers no signal
    def made(stage, progress):
        stand("before", stage)
        found = make(stage, progress)
        stand("after", stage)
        return found
    def ids_are_sound(stage):
        stand("checking", stage)
        return sound(stage)
    FilteredCaptions.make, checks.ids_are_sound = made, ids_are_sound
    """
LIMITS = "{instance {concurrencyLimits {concurrencyKey activeSlotCount}}}"
EVENTS = """query($r: ID!) {
    logsForRun(runId: $r) {... on EventConnection {events {__typename ... on MessageEvent {message}}}}
}"""


@dataclass
class Standing:
    """A deployment whose workers stand where they are told to: `held` until freed, or `stuck` in compiled code."""

    running: Any
    folder: Path

    def run(self, partition: str, stands: str) -> tuple[str, list[int]]:
        """Launch a run, wait until its worker stands somewhere. Its id, and the worker's and its guard's pids."""
        (self.folder / f"{stands} {partition}").touch()
        run = self.running.launch(partition)
        pids = self.folder / f"pids {partition}"
        self.running.wait(pids.exists, f"the worker to be {stands}", 60)
        return run, list(map(int, pids.read_text().split()))

    def free(self) -> None:
        """Let whoever comes now go on."""
        for file in self.folder.iterdir():
            file.unlink()

    def status(self, run: str) -> str:
        return next(found["status"] for found in self.running.runs() if found["runId"] == run)

    def events(self, run: str) -> list[dict[str, Any]]:
        return list(self.running.graphql(EVENTS, r=run)["logsForRun"]["events"])

    def process(self, run: str) -> int:
        """The pid of a run's process."""
        told = [
            re.match(r"Started process for run \(pid: (\d+)\)", event.get("message") or "")
            for event in self.events(run)
        ]
        [pid] = [int(found[1]) for found in told if found]
        return pid

    def slots_taken(self) -> int:
        limits = self.running.graphql(LIMITS)["instance"]["concurrencyLimits"]
        return sum(limit["activeSlotCount"] for limit in limits)

    def cancel(self, run: str) -> None:
        """Press Terminate, and wait until Dagster says that the run is canceled."""
        self.running.graphql("mutation($r: String!) {terminateRun(runId: $r) {__typename}}", r=run)
        self.running.wait(lambda: self.status(run) == "CANCELED", "the run to be canceled", 10)
        assert "ExecutionStepUpForRetryEvent" not in [event["__typename"] for event in self.events(run)]


@pytest.fixture
def standing(
    deploy: Callable, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_hook
) -> Standing:
    folder = tmp_path / "standing"
    folder.mkdir()
    monkeypatch.setenv("PYTHONPATH", worker_hook(tmp_path / "hook", STANDING.format(folder=str(folder))))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    return Standing(deploy(small_recipe), folder)


def alive(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def processor_seconds(pid: int) -> float:
    user, system = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def test_a_canceled_run_ends_at_once(standing: Standing) -> None:
    for stands, slots in (("stuck before", 1), ("stuck checking", 0)):
        run, pids = standing.run("laion", stands)
        assert standing.slots_taken() == slots
        standing.cancel(run)
        assert not any(map(alive, pids))
        assert standing.slots_taken() == 0
        standing.free()

    # one that waits for a slot: laion goes on when cc has taken it
    waits, _ = standing.run("laion", "held checking")
    holds, pids = standing.run("cc", "stuck before")
    process = standing.process(waits)
    (standing.folder / "held checking laion").unlink()
    blocked = "blocked by limit for pool worker"
    standing.running.wait(
        lambda: any(blocked in str(event.get("message")) for event in standing.events(waits)), "laion to wait", 30
    )
    before = processor_seconds(process)
    time.sleep(4)
    assert processor_seconds(process) - before < 0.4, "waiting costs little"
    standing.cancel(waits)
    standing.running.wait(lambda: not alive(process), "the run's process to end", 10)
    assert standing.status(holds) == "STARTED"
    standing.cancel(holds)
    assert not any(map(alive, pids))


def test_nothing_outlives_a_run_whose_process_is_killed(standing: Standing, tmp_path: Path) -> None:
    """Killed when the worker has stored its work and not yet said so. Dagster runs it again: nothing is done twice."""
    running = standing.running
    killed, pids = standing.run("laion", "stuck after")
    stored = [(path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*.parquet")]
    assert stored
    standing.free()
    os.kill(standing.process(killed), signal.SIGKILL)
    running.wait(lambda: not any(map(alive, pids)), "the worker to be gone", 10)
    running.wait(lambda: standing.status(killed) == "FAILURE", "the run to have failed", 10)

    def again() -> str:
        parents = {run["tags"].get("dagster/parent_run_id"): run["runId"] for run in running.runs()}
        return str(parents.get(killed, ""))

    assert running.finished(running.wait(again, "the second try", 60))["status"] == "SUCCESS"
    assert standing.slots_taken() == 0
    assert [(path, path.stat().st_mtime_ns) for path in (tmp_path / "store").rglob("*.parquet")] == stored
    assert FilteredCaptions(running.store, running.recipe(), "laion").manifest["kept"] == 4
    assert not list((tmp_path / "tmp").glob("synthvlm-*")), "what the killed left was swept"
