"""The chain from captions to models, look by look: what is requested by itself, what waits, and for what."""

import logging
import uuid
from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from synthvlm_assets.automation import SENSORS
from synthvlm_core import hashing
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.stages import Stage
from synthvlm_core.store.objects import Store
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint

Edit = Callable[[Recipe, dict[str, object]], Recipe]
GROUPS = {
    SyntheticImages: "images",
    ScoredPairs: "images",
    Synthvlm100k: "release",
    ProjectorCheckpoint: "training",
    VlmCheckpoint: "training",
    Evaluation: "training",
}
OF_SOURCES = (RawCaptions, FilteredCaptions, SyntheticImages, ScoredPairs)
TRAINED = (ProjectorCheckpoint, VlmCheckpoint, Evaluation)


class Chain:
    """What people and runs do to stages, and what the sensors would request then."""

    def __init__(self, store: Store, recipe: Recipe, locate: Callable) -> None:
        self.store, self.recipe, self._locate = store, recipe, locate
        self.location = locate(recipe)
        self.cursors: dict[str, object] = {}

    def edit(self, recipe: Recipe) -> None:
        """Another recipe, loaded."""
        self.recipe, self.location = recipe, self._locate(recipe)

    def make(self, stage: type[Stage], partition: str, content: str, *, red: str = "") -> None:
        """What a run leaves: what was made of what, in the store; a materialization and its checks, in Dagster.

        Args:
            red: name of a check that fails.
        """
        made = stage(self.store, self.recipe, partition)
        inputs = {need.title: (need.last_made() or {}).get("content", "") for need in made.needs}
        self.store.put_json(
            self.store.path("latest", self.recipe.name, stage.name, f"{partition}.json"),
            {
                "manifest": "somewhere.json",
                "code_version": stage.code_version(self.recipe),
                "settings": made.settings,
                "content": hashing.digest(content.encode()),
                "inputs": inputs,
            },
        )
        key, instance = dg.AssetKey(stage.name), self.location.instance
        instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=partition))
        wanted = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[partition])
        [record] = instance.fetch_materializations(wanted, limit=1).records
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for check in self.location.definitions.resolve_asset_graph().get(key).check_keys:
            evaluation = dg.AssetCheckEvaluation(
                asset_key=key,
                check_name=check.name,
                passed=check.name != red,
                severity=dg.AssetCheckSeverity.ERROR,
                partition=partition,
                target_materialization_data=target,
            )
            event = DagsterEvent(
                DagsterEventType.ASSET_CHECK_EVALUATION.value, "checks", event_specific_data=evaluation
            )
            instance.report_dagster_event(event, run_id=str(uuid.uuid4()))  # a run's checks are kept once

    def make_all(self, stages: tuple[type[Stage], ...], content: str) -> None:
        for stage in stages:
            for partition in stage.partitions(self.recipe):
                self.make(stage, partition, f"{stage.name} {partition} {content}")

    def requested(self, stage: type[Stage]) -> set[str]:
        """Partitions of a stage that the next look of its sensor requests."""
        return self.look(stage)[stage.name]

    def look(self, stage: type[Stage]) -> dict[str, set[str]]:
        """What the next look of a stage's sensor requests, by asset."""
        group = GROUPS[stage]
        result = dg.evaluate_automation_conditions(
            defs=self.location.definitions,
            instance=self.location.instance,
            asset_selection=dg.AssetSelection.groups(group),
            cursor=self.cursors.get(group),
        )
        self.cursors[group] = result.cursor
        return {
            found.name: set(result.get_requested_partitions(dg.AssetKey(found.name)) or ())
            for found in GROUPS
            if GROUPS[found] == group
        }


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def chain(store: Store, small_recipe: Recipe, locate: Callable) -> Chain:
    return Chain(store, small_recipe, locate)


@pytest.fixture
def whole(chain: Chain) -> Chain:
    """Everything made, and looked at."""
    chain.make_all((*OF_SOURCES, Synthvlm100k, *TRAINED), "A")
    for stage in GROUPS:
        assert chain.requested(stage) == set()
    return chain


def test_the_chain_link_by_link(whole: Chain) -> None:
    """New captions of one source: its images, its scores, then the sets, then what was trained on them."""
    for stage in (RawCaptions, FilteredCaptions):
        whole.make(stage, "cc", f"{stage.name} B")
    assert whole.requested(Synthvlm100k) == set(), "not of half of a change"
    assert whole.look(SyntheticImages) == {"synthetic_images": {"cc"}, "scored_pairs": {"cc"}}, "in one run"
    assert whole.look(SyntheticImages) == {"synthetic_images": set(), "scored_pairs": set()}, "once"
    whole.make(SyntheticImages, "cc", "images B")
    assert whole.requested(Synthvlm100k) == set()
    whole.make(ScoredPairs, "cc", "scores B")
    assert whole.requested(Synthvlm100k) == {"synthvlm", "random"}
    whole.make(Synthvlm100k, "synthvlm", "set B")
    assert whole.look(Evaluation) == {stage.name: {"synthvlm-mini"} for stage in TRAINED}
    for stage in TRAINED:
        whole.make(stage, "synthvlm-mini", f"{stage.name} B")


def test_a_run_that_ended_in_the_middle_goes_on_once_its_beginning_was_mended(whole: Chain) -> None:
    whole.make(Synthvlm100k, "synthvlm", "B")
    assert whole.look(Evaluation) == {stage.name: {"synthvlm-mini"} for stage in TRAINED}
    assert not any(whole.look(Evaluation).values()), "it failed, and is left to people"
    whole.make(ProjectorCheckpoint, "synthvlm-mini", "by hand")
    nobody: set[str] = set()
    assert whole.look(Evaluation) == {
        "projector_checkpoint": nobody,
        "vlm_checkpoint": {"synthvlm-mini"},
        "evaluation": {"synthvlm-mini"},
    }


def test_everything_new_is_made_but_what_nobody_ever_trained(chain: Chain) -> None:
    for stage in (RawCaptions, FilteredCaptions):
        chain.make(stage, "laion", stage.name)
    assert chain.requested(SyntheticImages) == {"laion"}
    assert chain.requested(Synthvlm100k) == set()
    chain.make_all(OF_SOURCES, "A")
    assert chain.requested(Synthvlm100k) == {"synthvlm", "random"}
    chain.make_all((Synthvlm100k,), "A")
    assert chain.requested(ProjectorCheckpoint) == set()
    chain.make(ProjectorCheckpoint, "random-mini", "trained")
    chain.make(Synthvlm100k, "synthvlm", "B")
    chain.make(Synthvlm100k, "random", "B")
    nobody: set[str] = set()
    wanted = {"projector_checkpoint": {"random-mini"}, "vlm_checkpoint": nobody, "evaluation": nobody}
    assert chain.look(ProjectorCheckpoint) == wanted


def test_a_marked_variant_is_trained_on_its_first_set(chain: Chain, edited: Edit) -> None:
    first, *_ = ProjectorCheckpoint.partitions(chain.recipe)
    chain.edit(edited(chain.recipe, {f"training.variants.{first}.automatic": True}))
    chain.make_all((*OF_SOURCES, Synthvlm100k), "A")
    assert chain.requested(ProjectorCheckpoint) == {first}


def test_the_same_content_again_requests_nothing(whole: Chain) -> None:
    whole.make_all((*OF_SOURCES, Synthvlm100k, *TRAINED), "A")
    for stage in GROUPS:
        assert whole.requested(stage) == set()


def test_content_that_returns_is_made_again(whole: Chain) -> None:
    for content in ("B", "synthvlm_100k synthvlm A"):
        whole.make(Synthvlm100k, "synthvlm", content)
        assert whole.requested(ProjectorCheckpoint) == {"synthvlm-mini"}
        if content == "B":
            whole.make(ProjectorCheckpoint, "synthvlm-mini", "of B")


def test_what_changed_while_nobody_looked_is_seen_by_the_next_look(chain: Chain) -> None:
    chain.make_all((*OF_SOURCES, Synthvlm100k, *TRAINED), "A")
    chain.make(Synthvlm100k, "synthvlm", "B")
    assert chain.requested(ProjectorCheckpoint) == {"synthvlm-mini"}


@pytest.mark.parametrize("stage", list(GROUPS))
def test_a_red_check_above_holds_back_and_says_so(
    whole: Chain, stage: type[Stage], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    [above, *_] = stage(whole.store, whole.recipe, stage.partitions(whole.recipe)[0]).needs
    graph = whole.location.definitions.resolve_asset_graph()
    blocking = sorted(key.name for key in graph.get(dg.AssetKey(above.name)).check_keys if graph.get(key).blocking)
    whole.make(type(above), above.partition, "B", red=blocking[0])
    assert whole.requested(stage) == set()
    assert f"waits: not passed: {blocking[0]} of {above.title}" in caplog.text
    whole.make(type(above), above.partition, "B")
    assert whole.requested(stage) >= {stage.partitions(whole.recipe)[0]}


def test_what_waits_is_told_once(chain: Chain, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(3):
        assert chain.requested(Synthvlm100k) == set()
    told = [record for record in caplog.records if "'synthvlm' waits: raw_captions/laion" in record.message]
    assert len(told) == 1


def test_a_red_control_holds_back_nobody_else(whole: Chain) -> None:
    whole.make(Synthvlm100k, "random", "B", red="set_is_whole")
    whole.make(Synthvlm100k, "synthvlm", "B")
    assert whole.requested(ProjectorCheckpoint) == {"synthvlm-mini"}


def test_an_edit_waits_for_a_person(whole: Chain, edited: Edit, caplog: pytest.LogCaptureFixture) -> None:
    """And then for the sources that are not made under it yet: a set is of one recipe."""
    caplog.set_level(logging.INFO)
    whole.edit(edited(whole.recipe, {"generator.steps": 3}))
    for stage in GROUPS:
        assert whole.requested(stage) == set()
    for stage in (RawCaptions, FilteredCaptions):
        whole.make(stage, "cc", f"{stage.name} B")
    assert whole.requested(SyntheticImages) == set()
    assert "synthetic_images/cc was made under other settings" in caplog.text
    whole.make(SyntheticImages, "cc", "images B")
    assert whole.requested(ScoredPairs) == {"cc"}
    whole.make(ScoredPairs, "cc", "scores B")
    assert whole.requested(Synthvlm100k) == set()
    whole.make(SyntheticImages, "laion", "images B of laion")
    assert whole.requested(ScoredPairs) == {"laion"}
    whole.make(ScoredPairs, "laion", "scores B of laion")
    assert whole.requested(Synthvlm100k) == {"synthvlm", "random"}


def test_nothing_is_requested_while_something_above_runs(whole: Chain) -> None:
    for stage in OF_SOURCES:
        whole.make(stage, "cc", f"{stage.name} B")
    with_a_run = whole.location.definitions.resolve_job_def("curate_captions")
    run = whole.location.instance.create_run_for_job(with_a_run, tags={"dagster/partition": "laion"})
    assert whole.requested(Synthvlm100k) == set()
    whole.location.instance.report_run_canceled(run)
    assert whole.requested(Synthvlm100k) == {"synthvlm", "random"}


def test_the_sensors_are_on_where_the_recipe_says_so(small_recipe: Recipe, locate: Callable, edited: Edit) -> None:
    of = {"source_files": "captions", **{name: link for name, link, *_ in SENSORS}}
    for links in ((), ("captions",), ("images", "set"), ("captions", "images", "set", "training")):
        definitions = locate(edited(small_recipe, {"automation": links})).definitions
        on = {name for name in of if definitions.resolve_sensor_def(name).default_status.value == "RUNNING"}
        assert on == {name for name, link in of.items() if link in links}
