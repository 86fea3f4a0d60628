"""Checkpoints and their evaluation, one partition per variant, trained anew when the set changes.

Belongs here: which assets and checks there are, the condition under which they run by themselves. Does not belong
here: training and evaluation (synthvlm_core).
"""

import dagster as dg

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

WHEN_CONTENT_CHANGED = (
    (
        AC.any_deps_match(AC.data_version_changed()).since_last_handled()
        # a set that was released before the first look trains, too; a failed run is not started again and again
        | (AC.missing() & ~AC.execution_failed() & ~AC.newly_requested())
    )
    & AC.all_deps_blocking_checks_passed()
    & ~AC.any_deps_missing()
    & ~AC.any_deps_in_progress()
    & ~AC.in_progress()
).with_label("content changed and its blocking checks passed")
"""Requests training for other content only: the same content materialized again has the same data version.
A run that failed is left to its retry policy and to people; content trained on before is found in the store."""


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
            automation=WHEN_CONTENT_CHANGED,
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
            automation=WHEN_CONTENT_CHANGED,
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
            automation=WHEN_CONTENT_CHANGED,
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
    """Looks at the conditions of the training assets; on from the start where the recipe says so."""
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    return dg.AutomationConditionSensorDefinition(
        "retraining",
        target=dg.AssetSelection.groups("training"),
        default_status=on if recipe.training.automatic else off,
        minimum_interval_seconds=30,
    )
