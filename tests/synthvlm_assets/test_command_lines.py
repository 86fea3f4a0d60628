"""Dagster's own commands: that they find the definitions, and what a person reads of a run."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from synthvlm_core.recipe.sections import Recipe

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
    assert not re.search("(Beta|Preview)Warning", done.stdout + done.stderr)


def test_a_launch_that_fails_says_once_what_to_mend(home: Path, small_recipe: Recipe, source_files: Path) -> None:
    (source_files / "laion.parquet").unlink()
    done = launched(home, small_recipe, "--job", "curate_captions", "--partition", "laion")
    assert done.returncode == 1
    failed, run, last = told(done)
    assert failed == (
        f"raw_captions of laion: FAILED: SourceError: source 'laion': laion.parquet matches no file (looked in "
        f"{source_files}). Put the files there or correct the recipe"
    )
    assert run == "curate_captions of laion: failed in raw_captions"
    assert re.fullmatch(r"Error: Run [-0-9a-f]+ resulted in failure\.", last)


def test_a_demo_that_fails_ends_with_what_to_mend(home: Path, small_recipe: Recipe, source_files: Path) -> None:
    (source_files / "laion.parquet").unlink()
    done = ran(home, small_recipe, [sys.executable, "-m", "synthvlm_assets.demo"])
    assert done.returncode == 1
    run, why, _, last = done.stderr.strip().splitlines()
    assert re.fullmatch(r"curate and draw  laion +FAILED in \d+ s", run)
    assert "laion.parquet matches no file" in why
    assert last == "What was made is kept: mend this and run it again."


def test_definitions_that_do_not_load_say_why_in_one_line(home: Path) -> None:
    known = {**environment(home), "SYNTHVLM_RECIPE": "minature"}
    why = "no recipe 'minature': neither a preset (miniature, paper) nor a file; did you mean 'miniature'?"
    for command in (
        called(["dg", "launch", "--job", "train", "--partition", "synthvlm-mini"]),
        [sys.executable, "-m", "synthvlm_assets.demo"],
    ):
        done = subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (1, "", f"Error: {why}\n")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an instance: making its database takes longer than all else."""
    return tmp_path_factory.mktemp("home")


def launched(home: Path, recipe: Recipe, *arguments: str) -> "subprocess.CompletedProcess[str]":
    """`dg launch` as a person calls it."""
    return ran(home, recipe, called(["dg", "launch", *arguments]))


def ran(home: Path, recipe: Recipe, command: list[str]) -> "subprocess.CompletedProcess[str]":
    """A command as a person calls it, with the recipe in a file."""
    file = Path(recipe.folder, "recipe.yaml")
    file.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"folder"})))
    known = {**environment(home), "SYNTHVLM_RECIPE": str(file)}
    known.pop("SYNTHVLM_RESOLVED_RECIPE", None)
    return subprocess.run(command, cwd=ROOT, env=known, capture_output=True, text=True, check=False)


def told(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """All that it wrote, a line each, without the time of day."""
    assert done.stdout == ""
    return [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in done.stderr.splitlines()]


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
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)  # as `make home` does it
    known = {"DAGSTER_HOME": str(home), "SYNTHVLM_STORE": str(home / "store")}
    return {**os.environ, **known, "VIRTUAL_ENV": str(Path(sys.executable).parents[1])}
