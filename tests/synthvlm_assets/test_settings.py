"""The recipe of a run: an edit in the middle of a run or backfill mixes nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
import yaml

from synthvlm_assets import settings
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
