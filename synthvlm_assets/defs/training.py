"""Checkpoints and their evaluation, one partition per variant, trained anew when the set changes.

Belongs here: which assets and checks there are, the condition under which they run by themselves. Does not belong
here: training and evaluation (synthvlm_core).
"""

from collections.abc import Iterable

import dagster as dg
from dagster._core.definitions.events import AssetKeyPartitionKey  # what a condition's result names; not in `dagster`

from synthvlm_assets import metadata
from synthvlm_assets.assets import stage_asset
from synthvlm_assets.checking import StageCheck, stage_check
from synthvlm_core.evaluation import checks as evaluation_properties
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.training import checks as properties
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint

AC = dg.AutomationCondition


class Marked(dg.AutomationCondition):
    """True of the variants that the recipe marks to be trained by themselves from the first set on."""

    def __init__(self, variants: Iterable[str]) -> None:
        self.variants = frozenset(variants)

    @property
    def description(self) -> str:
        return f"marked in the recipe: {', '.join(sorted(self.variants)) or 'none'}"

    def evaluate(self, context: dg.AutomationContext) -> dg.AutomationResult:
        partitions = {AssetKeyPartitionKey(context.key, variant) for variant in self.variants}
        marked = context.asset_graph_view.get_asset_subset_from_asset_partitions(context.key, partitions)
        return dg.AutomationResult(context, context.candidate_subset.compute_intersection(marked))


def when_content_changed(recipe: Recipe) -> dg.AutomationCondition:
    """Requests training for other content only: the same content materialized again has the same data version.

    A variant that was never trained stays so until a person trains it, unless the recipe marks it. A run that failed is
    left to its retries and to people; content trained on before is found in the store.
    """
    marked = Marked(variant.name for variant in recipe.training.variants if variant.automatic)
    return (
        (
            (AC.any_deps_match(AC.data_version_changed()).since_last_handled() & ~AC.missing())
            # a set that was released before the first look trains, too; a failed run is not started again and again
            | (marked & AC.missing() & ~AC.execution_failed() & ~AC.newly_requested())
        )
        & AC.all_deps_blocking_checks_passed()
        & ~AC.any_deps_missing()
        & ~AC.any_deps_in_progress()
        & ~AC.in_progress()
    ).with_label("content changed and its blocking checks passed")


def assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """Checkpoints and evaluation of a recipe, partitioned by its variants."""
    return [
        stage_asset(
            ProjectorCheckpoint,
            recipe,
            needs=[Synthvlm100k],
            shown=metadata.checkpoint,
            group="training",
            owner="training",
            kinds={"pytorch"},
            pool="gpu",
            automation=when_content_changed(recipe),
        ),
        stage_asset(
            VlmCheckpoint,
            recipe,
            needs=[ProjectorCheckpoint],
            shown=metadata.checkpoint,
            group="training",
            owner="training",
            kinds={"pytorch", "huggingface"},
            pool="gpu",
            automation=when_content_changed(recipe),
        ),
        stage_asset(
            Evaluation,
            recipe,
            needs=[VlmCheckpoint],
            shown=metadata.evaluation,
            group="training",
            owner="training",
            kinds={"pytorch"},
            pool="gpu",
            automation=when_content_changed(recipe),
        ),
    ]


def checks(recipe: Recipe) -> list[StageCheck]:
    """All checks of checkpoints and evaluation."""
    found = []
    for stage in (ProjectorCheckpoint, VlmCheckpoint):
        found += [
            stage_check(stage, recipe, properties.files_match_manifest),
            stage_check(stage, recipe, properties.checkpoint_loads_and_answers),
            stage_check(stage, recipe, properties.loss_fell, warns=True),
        ]
    return [
        *found,
        stage_check(Evaluation, recipe, evaluation_properties.accuracies_are_of_the_answers),
        stage_check(Evaluation, recipe, evaluation_properties.evaluation_beats_chance, warns=True),
    ]


def retraining_sensor(recipe: Recipe) -> dg.AutomationConditionSensorDefinition:
    """Looks at the conditions of the training assets; on from the start where the recipe says so. It runs in the code
    server: the daemon knows nothing of `Marked`."""
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    return dg.AutomationConditionSensorDefinition(
        "retraining",
        target=dg.AssetSelection.groups("training"),
        default_status=on if recipe.training.automatic else off,
        minimum_interval_seconds=30,
        use_user_code_server=True,
    )
