"""The set: the best pairs of all sources, released.

Belongs here: asset and check definitions. Does not belong here: selecting and writing (synthvlm_core).
"""

import dagster as dg

from synthvlm_assets import metadata
from synthvlm_assets.checking import check
from synthvlm_assets.compute import CODE_VERSION_TAG, RETRIES, Worker
from synthvlm_assets.settings import Settings
from synthvlm_core import records
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import checks as release_checks
from synthvlm_core.release import stage


def assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """The released set of a recipe."""

    @dg.asset(
        deps=[dg.AssetDep("scored_pairs", partition_mapping=dg.AllPartitionMapping())],
        group_name="release",
        kinds={"huggingface", "parquet"},
        owners=["team:synthesis"],
        code_version=stage.code_version(recipe),
        metadata={"dagster/column_schema": metadata.column_schema(records.SYNTHVLM_100K)},
        retry_policy=RETRIES,
        pool="worker",
    )
    def synthvlm_100k(context: dg.AssetExecutionContext, settings: Settings, worker: Worker) -> dg.MaterializeResult:
        """The pairs with the highest weighted scores over all sources, as Hugging Face Parquet and LLaVA JSON.

        Nothing is released while a source fails the recipe's thresholds or lacks its scores. The same pairs give the
        same release; `latest` moves last.
        """
        store, recipe = settings.open_store(), settings.run_recipe(context)
        result = worker.run(context, recipe, "synthvlm_100k")
        manifest = stage.manifest(store, recipe)
        return result._replace(
            metadata={**metadata.released_set(store, recipe, manifest), **(result.metadata or {})},
            tags={CODE_VERSION_TAG: stage.code_version(recipe)},
        )

    return [synthvlm_100k]


def checks(recipe: Recipe) -> list[dg.AssetChecksDefinition]:
    """All checks of the set."""
    return [
        check(
            "synthvlm_100k",
            "set_is_whole",
            "Exactly the recipe's number of pairs, no image and no caption twice.",
            release_checks.set_is_whole,
        ),
        check(
            "synthvlm_100k",
            "no_pair_is_below_the_floor",
            "Every pair reaches the floor and comes from a source that meets the thresholds.",
            release_checks.no_pair_is_below_the_floor,
        ),
        check(
            "synthvlm_100k",
            "formats_agree",
            "Parquet, LLaVA JSON and image files hold the same pairs.",
            release_checks.formats_agree,
        ),
    ]
