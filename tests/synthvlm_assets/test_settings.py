"""The recipe of a run: an edit in the middle of a run or backfill mixes nothing, and no launch brings another one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._config import ConfigType

from synthvlm_assets import settings
from synthvlm_assets.definitions import build
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
STRICTER = {"captions.rules.alphanumeric.min_ratio": 0.75}


@pytest.fixture(autouse=True)
def _no_recipe_handed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SYNTHVLM_RESOLVED_RECIPE", raising=False)


def tag_of(instance: dg.DagsterInstance, result: dg.ExecuteInProcessResult) -> str:
    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    return run.tags[settings.RECIPE_TAG]


def test_a_run_carries_its_recipe(location, store: Store, small_recipe: Recipe) -> None:
    result = location.run("laion")
    assert tag_of(location.instance, result) == small_recipe.hash
    kept = store.get(store.path("recipes", f"{small_recipe.hash}.json"))
    assert recipes.loads(kept.decode()).hash == small_recipe.hash


def test_a_run_started_again_keeps_its_recipe_after_an_edit(
    location, locate, store: Store, small_recipe: Recipe, edited: Edit
) -> None:
    location.run("cc")  # keeps the recipe in the store
    after_edit = locate(edited(small_recipe, STRICTER))
    again = after_edit.run("laion", tags={settings.RECIPE_TAG: small_recipe.hash})
    assert again.success
    assert location.latest("filtered_captions").tags["dagster/code_version"] == FilteredCaptions.code_version(
        small_recipe
    )
    assert FilteredCaptions(store, small_recipe, "laion").manifest["kept"] == 4
    with pytest.raises(LookupError):
        _ = FilteredCaptions(store, edited(small_recipe, STRICTER), "laion").manifest


def test_the_runs_of_a_backfill_share_the_recipe_of_its_first(
    location, locate, small_recipe: Recipe, edited: Edit
) -> None:
    backfill = {"dagster/backfill": "abc"}
    first = location.run("laion", tags=backfill)
    after_edit = locate(edited(small_recipe, STRICTER))
    second = after_edit.run("cc", tags=backfill)
    other = after_edit.run("cc", tags={"dagster/backfill": "def"})
    assert tag_of(location.instance, first) == tag_of(location.instance, second) == small_recipe.hash
    assert tag_of(location.instance, other) == edited(small_recipe, STRICTER).hash


def test_run_processes_get_the_recipe_that_the_code_server_read(
    tmp_path: Path, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.yaml"
    values = small_recipe.model_dump(mode="json", exclude={"folder"})
    path.write_text(yaml.safe_dump(values))
    monkeypatch.setenv("SYNTHVLM_RECIPE", str(path))
    served = settings.load_recipe()
    path.write_text(yaml.safe_dump({**values, "seed": 99}))
    code = "from synthvlm_assets import settings; print(settings.load_recipe().seed)"
    child = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=os.environ)
    assert int(child.stdout) == served.seed == small_recipe.seed
    assert settings.load_recipe().seed == 99  # the same process loads again: a reload


def settable(schema: ConfigType, at: str = "") -> Iterator[str]:
    """Every place of a run configuration that takes a value."""
    fields = getattr(schema, "fields", None)
    if fields is None or getattr(schema, "is_selector", False):
        yield at
    for name, field in (fields or {}).items():
        yield from settable(field.config_type, f"{at}/{name}")


def test_nothing_can_be_set_when_a_run_is_launched(small_recipe: Recipe, store: Store) -> None:
    repository = build(small_recipe, store.url()).get_repository_def()
    jobs = {job.name: job for job in repository.get_all_jobs()}
    assert {"__ASSET_JOB", "curate_captions", "curate_and_draw", "release_set", "train"} <= jobs.keys()
    for job in jobs.values():
        assert list(settable(job.run_config_schema.config_type)) == [], job.name
    for config in (
        {"resources": {"settings": {"config": {"store": "/elsewhere"}}}},
        {"resources": {"worker": {"config": {"command": "/bin/sh"}}}},
        {"resources": {"io_manager": {"config": {"base_dir": "/elsewhere"}}}},
        {"execution": {"config": {"step_dependency_config": {"require_upstream_step_success": False}}}},
        {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        {"ops": {"raw_captions": {"config": {"store": "/elsewhere"}}}},
    ):
        for job in ("curate_captions", "__ASSET_JOB"):
            with pytest.raises(dg.DagsterInvalidConfigError):
                dg.validate_run_config(jobs[job], config)


SOUND = {"laion": "MATERIALIZED", "cc": "MATERIALIZED"}


def partitions(instance: dg.DagsterInstance, asset: str) -> dict[str, str]:
    """What the UI shows of each partition."""
    definition = dg.StaticPartitionsDefinition(list(SOUND))
    found = instance.get_status_by_partition(dg.AssetKey(asset), list(SOUND), definition)
    return {name: status.value for name, status in (found or {}).items() if status is not None}


def refused(location, result: dg.ExecuteInProcessResult) -> str:
    """Why a run was refused: it is canceled, and what was made before is as green as it was."""
    run = location.instance.get_run_by_id(result.run_id)
    assert run.status == dg.DagsterRunStatus.CANCELED
    for asset in ("raw_captions", "filtered_captions"):
        assert partitions(location.instance, asset) == SOUND
    [why] = [event.step_failure_data.user_failure_data.description for event in result.get_step_failure_events()]
    assert why in [log.message for log in location.instance.all_logs(result.run_id, dg.DagsterEventType.RUN_CANCELING)]
    return why


@pytest.fixture
def made(location):
    """Both sources' captions in the instance's history."""
    for asset in ("raw_captions", "filtered_captions"):
        for source in SOUND:
            event = dg.AssetMaterialization(asset, partition=source, metadata={"recipe": "small"})
            location.instance.report_runless_asset_event(event)
    return location


def test_a_run_of_another_recipe_leaves_healthy_assets_green(made, locate, small_recipe: Recipe, edited: Edit) -> None:
    other = locate(edited(small_recipe, {"name": "other"}))
    why = refused(other, other.run("laion"))
    assert "history of recipe 'small'" in why
    assert "DAGSTER_HOME" in why


def test_a_tag_brings_no_other_recipe(made, locate, store: Store, small_recipe: Recipe, edited: Edit) -> None:
    """The tags of a run are written by whoever launches it, the store's files by whoever can write there."""
    other = edited(small_recipe, {"name": "other"})
    forged = edited(small_recipe, STRICTER)
    settings.Settings(other, store.url()).keep_recipe()
    store.put(store.path("recipes", f"{forged.hash}.json"), recipes.dumps(other).encode())
    store.put(store.path("elsewhere.json"), recipes.dumps(other).encode())
    for tag, why in {
        other.hash: "carries recipe 'other'",
        forged.hash: "does not hold the recipe of its name: delete it",
        "../elsewhere": "is no hash",
        "0" * 32: "which is not in",
    }.items():
        assert why in refused(made, made.run("laion", tags={settings.RECIPE_TAG: tag}))


def test_a_stored_recipe_reads_where_the_loaded_one_does(
    locate, store: Store, small_recipe: Recipe, edited: Edit, tmp_path: Path
) -> None:
    """The hash does not cover the folder that relative paths start at: a moved checkout, or a forged one."""
    text = recipes.dumps(small_recipe.model_copy(update={"folder": str(tmp_path / "nowhere")}))
    store.replace(store.path("recipes", f"{small_recipe.hash}.json"), text.encode())
    after_edit = locate(edited(small_recipe, STRICTER))
    assert after_edit.run("laion", tags={settings.RECIPE_TAG: small_recipe.hash}).success


def test_definitions_over_the_history_of_another_recipe_do_not_load(
    made, tmp_path: Path, small_recipe: Recipe, edited: Edit, store: Store
) -> None:
    folder = Path(small_recipe.folder)
    load = "from synthvlm_assets.definitions import defs; defs()"

    def loaded(recipe: Recipe) -> subprocess.CompletedProcess[str]:
        file = folder / f"{recipe.name}.yaml"
        file.write_text(yaml.safe_dump(recipe.model_dump(mode="json", exclude={"folder"})))
        known = {"DAGSTER_HOME": str(tmp_path / "dagster"), "SYNTHVLM_STORE": store.url(), "SYNTHVLM_RECIPE": str(file)}
        return subprocess.run([sys.executable, "-c", load], env={**os.environ, **known}, capture_output=True, text=True)

    shutil.copy(Path(__file__).parents[2] / "dagster_home" / "dagster.yaml", tmp_path / "dagster")
    other = loaded(edited(small_recipe, {"name": "other"}))
    assert other.returncode == 1
    assert "holds the history of recipe 'small', and 'other' is to run" in other.stderr
    assert loaded(small_recipe).returncode == 0
    assert partitions(made.instance, "raw_captions") == SOUND
