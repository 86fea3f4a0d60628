"""The caption assets: rows as read, and the captions worth drawing.

Belongs here: which assets and checks there are. Does not belong here: reading or judging captions
(synthvlm_core.captions).
"""

import dagster as dg

from synthvlm_assets import metadata
from synthvlm_assets.assets import stage_asset
from synthvlm_assets.checking import StageCheck, stage_check
from synthvlm_core.captions import checks as properties
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import records


def assets(recipe: Recipe) -> list[dg.AssetsDefinition]:
    """The caption assets of a recipe, partitioned by its sources."""
    return [
        stage_asset(
            RawCaptions,
            recipe,
            shown=metadata.raw_captions,
            table=records.RAW_CAPTIONS,
            group="captions",
            owner="curation",
            kinds={"parquet"},
            pool="worker",
        ),
        stage_asset(
            FilteredCaptions,
            recipe,
            needs=[RawCaptions],
            shown=metadata.filtered_captions,
            table=records.FILTERED_CAPTIONS,
            group="captions",
            owner="curation",
            kinds={"parquet", "python"},
            pool="worker",
        ),
    ]


def checks(recipe: Recipe) -> list[StageCheck]:
    """All checks of the caption assets."""
    return [
        stage_check(RawCaptions, recipe, properties.every_input_row_is_stored),
        stage_check(RawCaptions, recipe, properties.few_rows_are_quarantined),
        stage_check(RawCaptions, recipe, properties.ids_are_sound),
        stage_check(RawCaptions, recipe, properties.shards_are_undamaged),
        stage_check(FilteredCaptions, recipe, properties.rows_add_up),
        stage_check(FilteredCaptions, recipe, properties.kept_captions_pass_every_rule),
        stage_check(FilteredCaptions, recipe, properties.ids_are_sound),
        stage_check(FilteredCaptions, recipe, properties.shards_are_undamaged),
        stage_check(FilteredCaptions, recipe, properties.rejected_share_is_usual, warns=True),
    ]
