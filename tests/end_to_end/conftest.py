"""A whole deployment as `make ui` starts it: webserver, daemon, code server, over a recipe file that tests edit."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from synthvlm_core.parts.locations import locate
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_miniature.making import source_files as miniature_sources

ROOT = Path(__file__).parents[2]
ROWS = 14
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
QUIET += ["--disable-quic", "--disable-sync", "--no-first-run"]
IN_PROGRESS = {"QUEUED", "NOT_STARTED", "STARTING", "STARTED", "CANCELING"}
LOCATION = {"repositoryLocationName": "synthvlm", "repositoryName": "__repository__"}


@dataclass
class Deployment:
    """A running Dagster deployment."""

    url: str
    pid: int
    recipe_file: Path
    source_files: Path
    store: Store

    def recipe(self) -> Recipe:
        """The recipe as the file says now."""
        return recipes.load(str(self.recipe_file))

    def edit(self, change: Callable[[dict[str, Any]], None]) -> None:
        """Edit the recipe file as a person does."""
        values = yaml.safe_load(self.recipe_file.read_text())
        change(values)
        self.recipe_file.write_text(yaml.safe_dump(values))

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            answer = json.load(response)
        assert "errors" not in answer, answer
        return answer["data"]

    def runs(self, status: str = "") -> list[dict[str, Any]]:
        """All runs, or those of a status."""
        found = self.graphql("{runsOrError {... on Runs {results {runId status tags {key value}}}}}")
        runs = [run for run in found["runsOrError"]["results"] if status in ("", run["status"])]
        return [{**run, "tags": {tag["key"]: tag["value"] for tag in run["tags"]}} for run in runs]

    def why(self, run_id: str) -> str:
        """What the UI shows of a run's failed steps."""
        found = self.graphql(
            "query($r: ID!) {logsForRun(runId: $r) {... on EventConnection {events {... on ExecutionStepFailureEvent"
            " {failureMetadata {description} error {message}}}}}}",
            r=run_id,
        )
        return str([event for event in found["logsForRun"]["events"] if event])

    def ticks(self, sensor: str) -> str:
        """What a sensor told in its last ticks, as the UI shows it."""
        found = self.graphql(
            "query($s: SensorSelector!) {sensorOrError(sensorSelector: $s) {... on Sensor {sensorState"
            " {ticks(limit: 50) {logEvents {events {message}}}}}}}",
            s={**LOCATION, "sensorName": sensor},
        )
        ticks = found["sensorOrError"]["sensorState"]["ticks"]
        return "\n".join(event["message"] for tick in ticks for event in tick["logEvents"]["events"])

    def backfill(self, *assets: str, seconds: float = 400) -> str:
        """Launch a backfill of all partitions as the UI does and wait for it. Returns its status."""
        answer = self.graphql(
            "mutation($p: LaunchBackfillParams!) {launchPartitionBackfill(backfillParams: $p)"
            " {__typename ... on LaunchBackfillSuccess {backfillId} ... on PythonError {message}}}",
            p={"assetSelection": [{"path": [asset]} for asset in assets], "allPartitions": True},
        )
        query = "query($b: String!) {partitionBackfillOrError(backfillId: $b) {... on PartitionBackfill {status}}}"
        name = answer["launchPartitionBackfill"]["backfillId"]

        def ended() -> str:
            status = self.graphql(query, b=name)["partitionBackfillOrError"]["status"]
            return "" if status in ("REQUESTED", "CANCELING", "FAILING") else str(status)

        return str(self.wait(ended, f"backfill {name}", seconds))

    def wait(self, condition: Callable[[], Any], what: str, seconds: float = 180) -> Any:
        """The first true value of a condition; fails naming what was waited for, with the runs as they are.

        `seconds` bound a time in which nothing runs: a machine that is busy with other things is no fault of the
        product's, so work that goes on may take five times as long.
        """
        began = time.monotonic()
        end = began + seconds
        while True:
            if found := condition():
                return found
            if (now := time.monotonic()) > end:
                runs = self.runs()
                if now - began > 5 * seconds or not any(run["status"] in IN_PROGRESS for run in runs):
                    raise AssertionError(f"waited {now - began:.0f} s for {what}; runs: {runs}")
                end = now + seconds / 4
            time.sleep(0.5)

    def launch(self, partition: str) -> str:
        """Launch the caption job for a source. Returns the run id."""
        answer = self.graphql(**self.launching(partition))
        return str(answer["launchPipelineExecution"]["run"]["runId"])

    def launching(self, partition: str, **more: Any) -> dict[str, Any]:
        """The mutation that launches the caption job, with `p` as its variable; `more` of what a launch may say."""
        return {
            "query": "mutation($p: ExecutionParams!) {launchPipelineExecution(executionParams: $p) {__typename"
            " ... on LaunchRunSuccess {run {runId}} ... on PythonError {message}"
            " ... on RunConfigValidationInvalid {errors {message}}}}",
            "p": {
                "selector": {**LOCATION, "pipelineName": "curate_captions"},
                "executionMetadata": {"tags": [{"key": "dagster/partition", "value": partition}]},
                **more,
            },
        }

    def finished(self, run_id: str) -> dict[str, Any]:
        """Wait for a run and return it."""

        def done() -> dict[str, Any] | None:
            [run] = [run for run in self.runs() if run["runId"] == run_id]
            return run if run["status"] in ("SUCCESS", "FAILURE", "CANCELED") else None

        return dict(self.wait(done, f"run {run_id}"))


@pytest.fixture(scope="session")
def four_sources(tmp_path_factory: pytest.TempPathFactory, edited: Callable[..., Recipe]) -> Recipe:
    """The miniature recipe over a few rows of each source, with a few training steps of each kind and few questions."""
    folder = tmp_path_factory.mktemp("four")
    miniature_sources.write(folder, seed=5, rows=ROWS)
    miniature = recipes.load("miniature")
    sources = []
    for source in miniature.model_dump(mode="json")["sources"]:
        for key in {"files", "metadata_files"} & source.keys():
            source[key] = [name.replace("package:synthvlm_miniature/sources", str(folder)) for name in source[key]]
        sources.append(source)
    language = miniature.training.variants[0].language_model.model_dump(mode="json")
    return edited(
        miniature,
        {
            "name": "four",
            "sources": sources,
            "captions.rejected_share": [0.0, 1.0],
            "generator.images_per_caption": 1,
            "generator.batch_size": 4,
            "scores.clip_score.batch_size": 4,
            "selection.size": 6,
            "selection.floor": {},
            "selection.source_thresholds": {},
            "training.variants": [
                {"name": "synthvlm", "language_model": language, "selection": "synthvlm"},
                {"name": "random", "language_model": language, "selection": "random"},
            ],
            "training.align.epochs": 1.0,
            "training.align.global_batch": 2,
            "training.align.micro_batch": 2,
            "training.finetune.epochs": 0.02,
            "evaluation.benchmarks.miniature.file": str(_few_questions(folder / "benchmark")),
            "evaluation.texts": str(folder / "benchmark" / "texts.txt"),
            "evaluation.batch_size": 16,
        },
    )


def _few_questions(folder: Path) -> Path:
    """The first questions of each split and the first texts of the miniature's benchmark, as files of their own."""
    shipped = Path(locate("package:synthvlm_miniature/benchmark", ""))
    folder.mkdir()
    shutil.copy(shipped / "pictures.zip", folder)
    lines = (shipped / "questions.jsonl").read_text().splitlines(keepends=True)
    first = {split: [line for line in lines if json.loads(line)["split"] == split] for split in ("test", "held_out")}
    (folder / "questions.jsonl").write_text("".join([*first["test"][:32], *first["held_out"][:16]]))
    texts = (shipped / "held_out_captions.txt").read_text().splitlines(keepends=True)
    (folder / "texts.txt").write_text("".join(texts[:32]))
    return folder / "questions.jsonl"


@pytest.fixture(scope="session")
def tiny(four_sources: Recipe, edited: Callable[..., Recipe]) -> Recipe:
    """The same over two sources, drawn in three steps."""
    two = [source.model_dump(mode="json") for source in four_sources.sources[:2]]
    return edited(four_sources, {"name": "tiny", "sources": two, "generator.steps": 3})


@pytest.fixture
def deployment(deploy: Callable[[Recipe], Deployment], small_recipe: Recipe) -> Deployment:
    return deploy(small_recipe)


@pytest.fixture
def deploy(tmp_path: Path, source_files: Path) -> Iterator[Callable[[Recipe], Deployment]]:
    """Start a deployment of a recipe, written as a file beside its source files."""
    with contextlib.ExitStack() as running:
        yield lambda recipe: running.enter_context(_deployed(recipe, tmp_path, source_files))


@contextlib.contextmanager
def _deployed(recipe: Recipe, tmp_path: Path, source_files: Path) -> Iterator[Deployment]:
    home = tmp_path / "dagster_home"
    home.mkdir()
    shutil.copy(ROOT / "dagster_home" / "dagster.yaml", home)
    recipe_file = source_files / f"{recipe.name}.yaml"
    recipe_file.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"folder"})))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "SYNTHVLM_RECIPE": str(recipe_file),
        "SYNTHVLM_STORE": str(tmp_path / "store"),
    }
    environment.pop("SYNTHVLM_RESOLVED_RECIPE", None)
    log = (tmp_path / "dagster.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "synthvlm_assets.ui", "--port", str(port)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    found = Deployment(
        f"http://127.0.0.1:{port}", process.pid, recipe_file, source_files, Store(str(tmp_path / "store"))
    )
    try:
        _wait_until_loaded(found, process, tmp_path / "dagster.log")
        yield found
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(3)  # what a test stores is read before it ends: nothing is lost by killing
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait_until_loaded(deployment: Deployment, process: subprocess.Popen[bytes], log: Path) -> None:
    query = "{workspaceOrError {... on Workspace {locationEntries {loadStatus locationOrLoadError {__typename}}}}}"
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            entries = deployment.graphql(query)["workspaceOrError"]["locationEntries"]
        except (urllib.error.URLError, ConnectionError):
            entries = []
        if entries and all(entry["loadStatus"] == "LOADED" for entry in entries):
            assert entries[0]["locationOrLoadError"]["__typename"] == "RepositoryLocation", log.read_text()
            return
        time.sleep(0.5)
    raise AssertionError(f"the UI did not come up:\n{log.read_text()}")


@pytest.fixture
def page() -> Iterator[Any]:
    """A page of a real browser."""
    from playwright.sync_api import sync_playwright

    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: run scripts/install_chromium.sh")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(60_000)
        yield page
        browser.close()
