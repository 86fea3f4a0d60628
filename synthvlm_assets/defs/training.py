"""Checkpoints and their evaluation, one partition per variant.

Belongs here: which assets and checks there are. Does not belong here: training and evaluation (synthvlm_core).
"""

import dagster as dg

from synthvlm_assets import metadata
from synthvlm_assets.assets import stage_asset
from synthvlm_assets.automation import when_behind
from synthvlm_assets.checking import StageCheck, stage_check
from synthvlm_core.evaluation import checks as evaluation_properties
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.training import checks as properties
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint


def assets(recipe: Recipe, store: str) -> list[dg.AssetsDefinition]:
    """Checkpoints and evaluation of a recipe, partitioned by its variants."""
    marked = [variant.name for variant in recipe.training.variants if variant.automatic]
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
            automation=when_behind(ProjectorCheckpoint, recipe, store, new=marked),
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
            automation=when_behind(VlmCheckpoint, recipe, store, new=marked),
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
            automation=when_behind(Evaluation, recipe, store, new=marked),
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
