"""Retraining tick by tick: it fires when the released content changed and its blocking checks passed, and only then."""

import uuid
from collections.abc import Callable

import dagster as dg
import pytest
from dagster import DagsterEvent, DagsterEventType
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.checks import PROPERTIES

SET = dg.AssetKey("synthvlm_100k")
CHECKS = tuple(holds.__name__ for holds in PROPERTIES)


class Ticks:
    """Releases, checks and looks at the conditions, as a person's work and the daemon's would interleave."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance, recipe: Recipe) -> None:
        self.definitions, self.instance, self.recipe = definitions, instance, recipe
        self.cursor = None

    def variants_of(self, name: str) -> set[str]:
        """The variants that train on a set."""
        return {variant.name for variant in self.recipe.training.variants if variant.selection == name}

    def release(self, content: str, *, name: str = "synthvlm", passed: bool = True) -> None:
        self.instance.report_runless_asset_event(
            dg.AssetMaterialization(SET, partition=name, tags={"dagster/data_version": content})
        )
        wanted = dg.AssetRecordsFilter(asset_key=SET, asset_partitions=[name])
        [record] = self.instance.fetch_materializations(wanted, limit=1).records
        target = AssetCheckEvaluationTargetMaterializationData(
            storage_id=record.storage_id, run_id=record.run_id, timestamp=record.timestamp
        )
        for check in CHECKS:
            evaluation = dg.AssetCheckEvaluation(
                asset_key=SET,
                check_name=check,
                passed=passed,
                severity=dg.AssetCheckSeverity.ERROR,
                partition=name,
                target_materialization_data=target,
            )
            event = DagsterEvent(
                DagsterEventType.ASSET_CHECK_EVALUATION.value, "checks", event_specific_data=evaluation
            )
            self.instance.report_dagster_event(event, run_id=str(uuid.uuid4()))  # a run's checks are kept once

    def requested(self, asset: str = "projector_checkpoint") -> set[str | None]:
        result = dg.evaluate_automation_conditions(
            defs=self.definitions,
            instance=self.instance,
            asset_selection=dg.AssetSelection.groups("training"),
            cursor=self.cursor,
        )
        self.cursor = result.cursor
        return set(result.get_requested_partitions(dg.AssetKey(asset)) or ())

    def train(self, content: str) -> None:
        for variant in [variant.name for variant in self.recipe.training.variants]:
            self.instance.report_runless_asset_event(
                dg.AssetMaterialization(
                    "projector_checkpoint", partition=variant, tags={"dagster/data_version": content}
                )
            )


@pytest.fixture
def ticks(location, small_recipe: Recipe) -> Ticks:
    return Ticks(location.definitions, location.instance, small_recipe)


@pytest.fixture
def trained(ticks: Ticks) -> Ticks:
    for name in ("synthvlm", "random"):
        ticks.release("A", name=name)
    ticks.train("of A")
    ticks.requested()
    return ticks


def test_nothing_happens_without_a_set(ticks: Ticks) -> None:
    assert ticks.requested() == set()


def test_what_nobody_ever_trained_is_not_trained_by_itself(ticks: Ticks) -> None:
    for content in "AB":
        for name in ("synthvlm", "random"):
            ticks.release(content, name=name)
        assert ticks.requested() == set()
    ticks.train("of B")
    assert ticks.requested() == set(), "it is as its set is"
    ticks.release("C")
    assert ticks.requested() == ticks.variants_of("synthvlm")


def test_a_marked_variant_trains_on_a_set_released_before_the_first_look(
    locate: Callable, small_recipe: Recipe, edited: Callable[[Recipe, dict[str, object]], Recipe]
) -> None:
    first, *_ = [variant.name for variant in small_recipe.training.variants]
    recipe = edited(small_recipe, {f"training.variants.{first}.automatic": True})
    location = locate(recipe)
    ticks = Ticks(location.definitions, location.instance, recipe)
    ticks.release("A")
    assert ticks.requested() == {first}
    assert ticks.requested() == set()


def test_new_content_trains_once(trained: Ticks) -> None:
    trained.release("B")
    assert trained.requested() == trained.variants_of("synthvlm")
    assert trained.requested() == set()


def test_the_same_content_again_does_not_train(trained: Ticks) -> None:
    trained.release("A")
    assert trained.requested() == set()


def test_a_failed_check_holds_training_back_until_it_passes(trained: Ticks) -> None:
    trained.release("B", passed=False)
    assert trained.requested() == set()
    trained.release("B", passed=True)
    assert trained.requested() == trained.variants_of("synthvlm")


def test_a_red_control_holds_back_nobody_else(trained: Ticks) -> None:
    trained.release("control", name="random", passed=False)
    trained.release("B")
    assert trained.requested() == trained.variants_of("synthvlm")
    trained.release("control", name="random", passed=True)
    assert trained.requested() == trained.variants_of("random")


def test_the_sensor_is_on_where_the_recipe_says_so(
    locate: Callable, small_recipe: Recipe, edited: Callable[[Recipe, dict[str, object]], Recipe]
) -> None:
    for automatic, status in ((True, "RUNNING"), (False, "STOPPED")):
        definitions = locate(edited(small_recipe, {"training.automatic": automatic})).definitions
        assert definitions.resolve_sensor_def("retraining").default_status.value == status
