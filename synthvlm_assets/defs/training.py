"""Checkpoints and their evaluation, one partition per variant, trained anew when the set changes.

Belongs here: asset and check definitions, the condition under which they run by themselves. Does not belong here:
training and evaluation (synthvlm_core).
"""

from functools import partial

import dagster as dg

from synthvlm_assets import metadata, partitions
from synthvlm_assets.checking import partitioned_check
from synthvlm_assets.compute import CODE_VERSION_TAG, RETRIES, Worker
from synthvlm_assets.settings import Settings
from synthvlm_core import hashing
from synthvlm_core.evaluation import scores
from synthvlm_core.findings import Finding
from synthvlm_core.recipe import Recipe
from synthvlm_core.store import Store
from synthvlm_core.training import checkpoints
from synthvlm_core.training import checks as training_checks
from synthvlm_core.training.checkpoints import Stage

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
    variants = partitions.variants(recipe)

    @dg.asset(
        deps=["synthvlm_100k"],
        kinds={"pytorch"},
        code_version=checkpoints.code_version(recipe, "align"),
        partitions_def=variants,
        group_name="training",
        owners=["team:training"],
        automation_condition=WHEN_CONTENT_CHANGED,
        retry_policy=RETRIES,
        pool="gpu",
    )
    def projector_checkpoint(
        context: dg.AssetExecutionContext, settings: Settings, worker: Worker
    ) -> dg.MaterializeResult:
        """The projector alone, aligned on the released pairs; vision tower and language model stay as they are."""
        return _checkpoint(context, settings, worker, "align")

    @dg.asset(
        deps=[projector_checkpoint],
        kinds={"pytorch", "huggingface"},
        code_version=checkpoints.code_version(recipe, "finetune"),
        partitions_def=variants,
        group_name="training",
        owners=["team:training"],
        automation_condition=WHEN_CONTENT_CHANGED,
        retry_policy=RETRIES,
        pool="gpu",
    )
    def vlm_checkpoint(context: dg.AssetExecutionContext, settings: Settings, worker: Worker) -> dg.MaterializeResult:
        """Projector and language model, tuned on the recipe's instructions from the aligned projector."""
        return _checkpoint(context, settings, worker, "finetune")

    @dg.asset(
        deps=[vlm_checkpoint],
        kinds={"pytorch"},
        code_version=evaluation_version(recipe),
        partitions_def=variants,
        group_name="training",
        owners=["team:training"],
        automation_condition=WHEN_CONTENT_CHANGED,
        retry_policy=RETRIES,
        pool="gpu",
    )
    def evaluation(context: dg.AssetExecutionContext, settings: Settings, worker: Worker) -> dg.MaterializeResult:
        """Held-out questions by kind with chance level and intervals, and the language model's perplexity before and
        after."""
        store, recipe = settings.open_store(), settings.run_recipe(context)
        result = worker.run(context, recipe, "evaluation")
        return result._replace(
            metadata={**metadata.evaluation(store, recipe, context.partition_key), **(result.metadata or {})},
            tags={CODE_VERSION_TAG: evaluation_version(recipe)},
        )

    return [projector_checkpoint, vlm_checkpoint, evaluation]


def checks(recipe: Recipe) -> list[dg.AssetChecksDefinition]:
    """All checks of checkpoints and evaluation."""
    variants = partitions.variants(recipe)
    found = []
    stages: tuple[tuple[str, Stage], ...] = (("projector_checkpoint", "align"), ("vlm_checkpoint", "finetune"))
    for asset, stage in stages:
        found += [
            partitioned_check(
                asset,
                "files_match_manifest",
                "Every file of the checkpoint has the bytes it was written with.",
                partial(_files_match_manifest, stage),
                partitions=variants,
            ),
            partitioned_check(
                asset,
                "checkpoint_loads_and_answers",
                "The stored files make a model that answers.",
                partial(_loads_and_answers, stage),
                partitions=variants,
            ),
            partitioned_check(
                asset,
                "loss_fell",
                "The training loss is lower at the end than at the start.",
                partial(_loss_fell, stage),
                partitions=variants,
                warns=True,
            ),
        ]
    found.append(
        partitioned_check(
            "evaluation",
            "evaluation_beats_chance",
            "The lower bound of the accuracy lies above chance and above blind guessing.",
            _beats_chance,
            partitions=variants,
            warns=True,
        )
    )
    return found


def retraining_sensor(recipe: Recipe) -> dg.AutomationConditionSensorDefinition:
    """Looks at the conditions of the training assets; on from the start where the recipe says so."""
    on, off = dg.DefaultSensorStatus.RUNNING, dg.DefaultSensorStatus.STOPPED
    return dg.AutomationConditionSensorDefinition(
        "retraining",
        target=dg.AssetSelection.groups("training"),
        default_status=on if recipe.training.automatic else off,
        minimum_interval_seconds=30,
    )


def evaluation_version(recipe: Recipe) -> str:
    """Hash of what an evaluation asks."""
    return hashing.of_json([recipe.evaluation.model_dump(mode="json", exclude={"batch_size"}), scores.STAGE_VERSION])


def _checkpoint(
    context: dg.AssetExecutionContext, settings: Settings, worker: Worker, stage: Stage
) -> dg.MaterializeResult:
    store, recipe = settings.open_store(), settings.run_recipe(context)
    result = worker.run(context, recipe, "projector_checkpoint" if stage == "align" else "vlm_checkpoint")
    return result._replace(
        metadata={**metadata.checkpoint(store, recipe, context.partition_key, stage), **(result.metadata or {})},
        tags={CODE_VERSION_TAG: checkpoints.code_version(recipe, stage)},
    )


def _files_match_manifest(stage: Stage, store: Store, recipe: Recipe, variant: str) -> Finding:
    return training_checks.files_match_manifest(store, variant, checkpoints.current_key(store, recipe, variant, stage))


def _loads_and_answers(stage: Stage, store: Store, recipe: Recipe, variant: str) -> Finding:
    key = checkpoints.current_key(store, recipe, variant, stage)
    return training_checks.checkpoint_loads_and_answers(store, recipe, variant, key, stage)


def _loss_fell(stage: Stage, store: Store, recipe: Recipe, variant: str) -> Finding:
    return training_checks.loss_fell(store, variant, checkpoints.current_key(store, recipe, variant, stage))


def _beats_chance(store: Store, recipe: Recipe, variant: str) -> Finding:
    return training_checks.evaluation_beats_chance(scores.current(store, recipe, variant))
