"""The image assets: pictures drawn from captions, and the score of every pair.

Belongs here: asset and check definitions. Does not belong here: drawing (synthvlm_core.images) and scoring
(synthvlm_core.scoring).
"""

import dagster as dg

from synthvlm_assets import metadata, partitions
from synthvlm_assets.checking import partitioned_check
from synthvlm_assets.compute import CODE_VERSION_TAG, RETRIES, Worker
from synthvlm_assets.settings import Settings
from synthvlm_core import records, selection
from synthvlm_core.images import checks as image_checks
from synthvlm_core.images import synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.scoring import checks as score_checks
from synthvlm_core.scoring import stage as scoring


def assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """The image assets of a recipe, partitioned by its sources."""
    sources = partitions.sources(recipe)

    @dg.asset(
        partitions_def=sources,
        deps=["filtered_captions"],
        group_name="images",
        kinds={"diffusers", "parquet"},
        owners=["team:synthesis"],
        code_version=synthesis.code_version(recipe),
        metadata={"dagster/column_schema": metadata.column_schema(records.SYNTHETIC_IMAGES)},
        retry_policy=RETRIES,
        pool="gpu",
    )
    def synthetic_images(context: dg.AssetExecutionContext, settings: Settings, worker: Worker) -> dg.MaterializeResult:
        """Images that the diffusion model draws of the kept captions, each from its own seed.

        Only images that nobody drew yet are drawn. Blank or broken ones are drawn again under a new attempt.
        """
        store, recipe = settings.open_store(), settings.run_recipe(context)
        result = worker.run(context, recipe, "synthetic_images")
        return result._replace(
            metadata={**metadata.synthetic_images(store, recipe, context.partition_key), **(result.metadata or {})},
            tags={CODE_VERSION_TAG: synthesis.code_version(recipe)},
        )

    @dg.asset(
        partitions_def=sources,
        deps=[synthetic_images],
        group_name="images",
        kinds={"pytorch", "parquet"},
        owners=["team:synthesis"],
        code_version=scoring.code_version(recipe),
        metadata={"dagster/column_schema": metadata.column_schema(records.SCORES)},
        retry_policy=RETRIES,
        pool="gpu",
    )
    def scored_pairs(context: dg.AssetExecutionContext, settings: Settings, worker: Worker) -> dg.MaterializeResult:
        """CLIPScore and SSIM of every image and its caption, computed from the stored bytes, each once."""
        store, recipe = settings.open_store(), settings.run_recipe(context)
        result = worker.run(context, recipe, "scored_pairs")
        return result._replace(
            metadata={**metadata.scored_pairs(store, recipe, context.partition_key), **(result.metadata or {})},
            tags={CODE_VERSION_TAG: scoring.code_version(recipe)},
        )

    return [synthetic_images, scored_pairs]


def checks(recipe: Recipe) -> list[dg.AssetChecksDefinition]:
    """All checks of the image assets."""
    sources = partitions.sources(recipe)
    properties = [
        (
            "synthetic_images",
            "images_add_up",
            "Every kept caption has its images, or is counted as given up.",
            image_checks.images_add_up,
        ),
        (
            "synthetic_images",
            "images_decode",
            "Sampled images decode at the recipe's size and are not blank.",
            image_checks.images_decode,
        ),
        (
            "synthetic_images",
            "unhealthy_share_is_within_limit",
            "The share of blank or broken images is within the recipe's limit.",
            image_checks.unhealthy_share_is_within_limit,
        ),
        (
            "synthetic_images",
            "ids_and_seeds_are_sound",
            "Every image id and seed follows from caption, k and attempt.",
            image_checks.ids_and_seeds_are_sound,
        ),
        (
            "synthetic_images",
            "shards_are_undamaged",
            "Every shard has the bytes that its name promises.",
            image_checks.shards_are_undamaged,
        ),
        (
            "scored_pairs",
            "every_image_has_one_score",
            "Every image that counts has exactly one finite score under one definition.",
            score_checks.every_image_has_one_score,
        ),
        (
            "scored_pairs",
            "scores_agree_with_stored_images",
            "Sampled SSIM scores, computed anew from the stored bytes, agree with the stored ones.",
            score_checks.scores_agree_with_stored_images,
        ),
        (
            "scored_pairs",
            "shards_are_undamaged",
            "Every shard has the bytes that its name promises.",
            score_checks.shards_are_undamaged,
        ),
        (
            "scored_pairs",
            "scores_reach_the_thresholds",
            "Mean scores and the share above the floor reach the recipe's thresholds; else nothing is released.",
            selection.verify_source,
        ),
    ]
    return [
        partitioned_check(asset, name, description, holds, partitions=sources)
        for asset, name, description, holds in properties
    ]
