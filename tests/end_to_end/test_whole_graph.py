"""From source files to an evaluated checkpoint, with the shipped models and a very small recipe, through Dagster.

Every worker of the first run is killed in the middle of its work and started again by Dagster.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_assets.definitions import build
from synthvlm_core import graph
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]

KILL_ONCE = """
    import os, pathlib, signal
    marks, at = pathlib.Path({marks!r}), sys.orig_argv.index("synthvlm_assets.worker")
    stage, task = sys.orig_argv[at + 1 : at + 3]
    def kill_after(count, owner, name):
        real, calls = getattr(owner, name), []
        def counted(*arguments, **options):
            result = real(*arguments, **options)
            calls.append(name)
            if len(calls) == count:
                (marks / stage).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(owner, name, counted)
    if task == "make" and not (marks / stage).exists():
        from synthvlm_core import stages
        from synthvlm_core.store import objects, shards
        if stage in ("raw_captions", "filtered_captions"):
            kill_after(1, shards.Folder, "put")
        elif stage == "synthetic_images":
            from synthvlm_core.images import drawing
            drawing.SHARD_ROWS = 4
            kill_after(1, shards.Folder, "put")
        elif stage == "scored_pairs":
            kill_after(1, shards.Folder, "put")
        elif stage == "synthvlm_100k":
            kill_after(3, objects.Store, "put")
        elif stage == "evaluation":
            from synthvlm_core.training import asking
            kill_after(1, asking, "ask")
        else:
            from synthvlm_core.training import learning, loop
            learning.SAVE_STEPS = 1
            kill_after(1, loop._Mark, "on_save")
    """
"""A worker of each stage kills itself with SIGKILL once: after its first shard, the third file of a release, the first
step of training, the answers."""
STAGES = tuple(stage.name for stage in graph.STAGES)


@dataclass
class World:
    """A store and an instance in a folder, and the recipe they serve."""

    folder: Path
    recipe: Recipe

    @property
    def store(self) -> Store:
        return Store(str(self.folder / "store"))

    def run(self, job: str, partition: str | None = None, recipe: Recipe | None = None) -> dg.ExecuteInProcessResult:
        with self.instance() as instance:
            return (
                build(recipe or self.recipe, self.store.url())
                .resolve_job_def(job)
                .execute_in_process(partition_key=partition, instance=instance, raise_on_error=False)
            )

    def run_all(self) -> list[dg.ExecuteInProcessResult]:
        runs = [self.run("curate_and_draw", source.name) for source in self.recipe.sources]
        return [*runs, self.run("release_set", "synthvlm"), self.run("train", self.recipe.training.variants[0].name)]

    def instance(self) -> dg.DagsterInstance:
        return dg.DagsterInstance.local_temp(str(self.folder / "dagster"))

    def latest(self, asset: str) -> dg.AssetMaterialization:
        with self.instance() as instance:
            event = instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization

    def versions(self) -> dict[str, str]:
        return {asset: self.latest(asset).tags["dagster/data_version"] for asset in STAGES}


@pytest.fixture(scope="module")
def killed(tmp_path_factory, tiny: Recipe, worker_hook) -> Iterator[tuple[World, list[dg.ExecuteInProcessResult]]]:
    """The whole graph after a run in which every stage was killed once."""
    folder = tmp_path_factory.mktemp("killed")
    for name in ("dagster", "marks"):
        (folder / name).mkdir()
    world = World(folder, tiny)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", worker_hook(folder / "hook", KILL_ONCE.format(marks=str(folder / "marks"))))
        yield world, world.run_all()


@pytest.fixture
def world(killed: tuple[World, list[dg.ExecuteInProcessResult]], tmp_path: Path) -> World:
    """A copy of the finished world that a test may change."""
    shutil.copytree(killed[0].folder, tmp_path / "world")
    return World(tmp_path / "world", killed[0].recipe)


def test_killed_workers_are_started_again_and_end_like_an_uninterrupted_run(killed, tmp_path: Path) -> None:
    world, results = killed
    assert all(result.success for result in results)
    assert {mark.name for mark in (world.folder / "marks").iterdir()} == set(STAGES)
    restarted = [
        event for result in results for event in result.all_events if event.event_type_value == "STEP_RESTARTED"
    ]
    assert len(restarted) == len(STAGES)

    clean, recipe = Store(str(tmp_path / "clean")), world.recipe
    made = {}
    for stage in graph.STAGES:
        names = stage.partitions(recipe)
        for name in names if stage.over == "source" else names[:1]:
            made[stage.name] = stage(clean, recipe, name).make()["content_hash"]
    assert world.versions() == made


def test_what_a_person_finds(killed) -> None:
    world, _ = killed
    drawn = SyntheticImages(world.store, world.recipe, "laion").manifest
    assert drawn["healthy"] == drawn["wanted"] > 0
    released = Synthvlm100k(world.store, world.recipe, "synthvlm")
    assert released.manifest["rows"] == world.recipe.selection.size
    folder = Path(released.location)
    conversations = json.loads((folder / "llava" / "synthvlm.json").read_text())
    assert len(conversations) == world.recipe.selection.size
    assert (folder / "llava" / "images" / conversations[0]["image"]).is_file()

    for asset, pictures in {
        "synthetic_images": ["some images"],
        "scored_pairs": ["histograms", "best, borderline and worst pairs (CLIPScore, SSIM)"],
        "synthvlm_100k": ["the first pairs"],
        "vlm_checkpoint": ["loss curve"],
        "evaluation": ["answered questions"],
    }.items():
        metadata = world.latest(asset).metadata
        for picture in pictures:
            assert metadata[picture].value.startswith("![](data:image/")
            assert len(metadata[picture].value) < 200_000
    assert world.latest("evaluation").partition == world.recipe.training.variants[0].name
    assert 0.0 <= world.latest("evaluation").metadata["accuracy miniature"].value <= 1.0


def test_again_nothing_is_done(world: World) -> None:
    versions = world.versions()
    assert world.run("curate_and_draw", "cc").success
    assert world.run("release_set", "synthvlm").success
    for asset, counted in (("filtered_captions", "measured"), ("synthetic_images", "drawn")):
        assert world.latest(asset).metadata[counted].value == 0
    assert world.versions() == versions


def test_a_failing_source_stops_the_release(world: World, edited: Edit) -> None:
    before = Synthvlm100k(world.store, world.recipe, "synthvlm").manifest
    strict = edited(world.recipe, {"selection.source_thresholds": {"mean": {"clip_score": 0.999}}})
    result = world.run("curate_and_draw", "cc", strict)
    failed = [e.check_name for e in result.get_asset_check_evaluations() if not e.passed]
    assert failed == ["scores_reach_the_thresholds"]
    result = world.run("release_set", "synthvlm", recipe=strict)
    assert not result.success
    assert Synthvlm100k(world.store, strict, "synthvlm").manifest == before
