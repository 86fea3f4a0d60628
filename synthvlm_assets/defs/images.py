"""The image assets: pictures drawn from captions, and the scores of every pair.

Belongs here: which assets and checks there are. Does not belong here: drawing (synthvlm_core.images) and scoring
(synthvlm_core.scoring).
"""

import dagster as dg

from synthvlm_assets import metadata
from synthvlm_assets.assets import stage_asset
from synthvlm_assets.automation import when_behind
from synthvlm_assets.checking import StageCheck, stage_check
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.images import checks as image_properties
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import checks as score_properties
from synthvlm_core.scoring.scored import ScoredPairs, score_columns
from synthvlm_core.selection.checks import scores_reach_the_thresholds
from synthvlm_core.store import records


def assets(recipe: Recipe, store: str) -> list[dg.AssetsDefinition]:
    """The image assets of a recipe, partitioned by its sources."""
    return [
        stage_asset(
            SyntheticImages,
            recipe,
            needs=[FilteredCaptions],
            shown=metadata.synthetic_images,
            table=records.SYNTHETIC_IMAGES,
            group="images",
            owner="synthesis",
            kinds={recipe.generator.kind_name, "parquet"},
            pool="gpu",
            automation=when_behind(SyntheticImages, recipe, store),
        ),
        stage_asset(
            ScoredPairs,
            recipe,
            needs=[SyntheticImages],
            shown=metadata.scored_pairs,
            table=records.scored_pairs(score_columns(recipe)),
            group="images",
            owner="synthesis",
            kinds={"pytorch", "parquet"},
            pool="gpu",
            automation=when_behind(ScoredPairs, recipe, store),
        ),
    ]


def checks(recipe: Recipe) -> list[StageCheck]:
    """All checks of the image assets."""
    return [
        stage_check(SyntheticImages, recipe, image_properties.images_add_up),
        stage_check(SyntheticImages, recipe, image_properties.images_decode),
        stage_check(SyntheticImages, recipe, image_properties.unhealthy_share_is_within_limit),
        stage_check(SyntheticImages, recipe, image_properties.ids_and_seeds_are_sound),
        stage_check(SyntheticImages, recipe, image_properties.shards_are_undamaged),
        stage_check(ScoredPairs, recipe, score_properties.every_image_has_one_score),
        stage_check(ScoredPairs, recipe, score_properties.scores_agree_with_stored_images),
        stage_check(ScoredPairs, recipe, score_properties.shards_are_undamaged),
        stage_check(ScoredPairs, recipe, scores_reach_the_thresholds),
    ]
