"""The files that Dagster's own commands read: workspace.yaml and pyproject.toml."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "command",
    [["dagster", "definitions", "validate", "-w", "workspace.yaml"], ["dg", "check", "defs"]],
    ids=["dagster", "dg"],
)
def test_definitions_are_valid(command: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        called(command), cwd=ROOT, env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("command", [["dagster", "dev", "-w", "workspace.yaml"], ["dg", "dev"]], ids=["dagster", "dg"])
def test_a_webserver_that_takes_runs_from_any_page_gets_no_definitions(command: list[str], tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*called(command), "--port", "0"],
            cwd=ROOT,
            env=environment(tmp_path),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        end = time.monotonic() + 120
        while "use `make ui`, which refuses them" not in log.read_text() and time.monotonic() < end:
            time.sleep(0.5)
        assert "use `make ui`, which refuses them" in log.read_text()
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def called(command: list[str]) -> list[str]:
    return [str(Path(sys.executable).with_name(command[0])), *command[1:]]


def environment(home: Path) -> dict[str, str]:
    known = {"DAGSTER_HOME": str(home), "SYNTHVLM_STORE": str(home / "store")}
    return {**os.environ, **known, "VIRTUAL_ENV": str(Path(sys.executable).parents[1])}
