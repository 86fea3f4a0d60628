"""A real Dagster instance and the definitions of the small recipe."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_assets import progress
from synthvlm_assets.definitions import build
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


@dataclass
class Location:
    """Definitions over an instance: what a person has in the UI."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance

    def run(self, partition: str, **options: object) -> dg.ExecuteInProcessResult:
        """Materialize the captions of a source with all checks."""
        return self.definitions.resolve_job_def("curate_captions").execute_in_process(
            partition_key=partition, instance=self.instance, raise_on_error=False, **options
        )

    def latest(self, asset: str) -> dg.AssetMaterialization:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(asset))
        assert event is not None
        assert event.asset_materialization is not None
        return event.asset_materialization


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    (tmp_path / "dagster").mkdir()
    with dg.DagsterInstance.local_temp(str(tmp_path / "dagster")) as instance:
        yield instance


@pytest.fixture
def locate(instance: dg.DagsterInstance, store: Store) -> Callable[[Recipe], Location]:
    """The code location of a recipe over the test's store and instance; call again after an edit: that is a reload."""
    return lambda recipe: Location(build(recipe, store.url()), instance)


@pytest.fixture
def location(locate: Callable[[Recipe], Location], small_recipe: Recipe) -> Location:
    return locate(small_recipe)


@pytest.fixture
def notes_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for notes, named as workers find it named."""
    monkeypatch.setenv(progress.FOLDER, str(tmp_path))
    monkeypatch.setattr(progress, "NOTE_SECONDS", 0.0)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is: clock[0]."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now
