"""The sets: the best pairs of all sources, their controls and other sizes, each released.

Belongs here: which assets and checks there are. Does not belong here: selecting and writing (synthvlm_core).
"""

import dagster as dg

from synthvlm_assets import metadata
from synthvlm_assets.assets import stage_asset
from synthvlm_assets.automation import when_behind
from synthvlm_assets.checking import StageCheck, stage_check
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks as properties
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs, score_columns
from synthvlm_core.store import records


def assets(recipe: Recipe, store: str) -> list[dg.AssetsDefinition]:
    """The released sets of a recipe, partitioned by its selections."""
    return [
        stage_asset(
            Synthvlm100k,
            recipe,
            needs=[ScoredPairs],
            shown=metadata.released_set,
            table=records.synthvlm_100k(score_columns(recipe)),
            group="release",
            owner="synthesis",
            kinds={"huggingface", "parquet"},
            pool="worker",
            automation=when_behind(Synthvlm100k, recipe, store),
        )
    ]


def checks(recipe: Recipe) -> list[StageCheck]:
    """All checks of the sets."""
    return [stage_check(Synthvlm100k, recipe, holds) for holds in properties.PROPERTIES]
