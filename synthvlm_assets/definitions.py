"""The code location: everything Dagster shows, assembled for one recipe.

Belongs here: assembly. Does not belong here: any definition of its own, any import of torch, diffusers, transformers
or ray, directly or not (a code location is loaded by the server and by every run).
"""

import dagster as dg

from synthvlm_assets import checking, waiting
from synthvlm_assets.compute import Worker
from synthvlm_assets.defs import captions, images, release, source_files, training
from synthvlm_assets.settings import RECIPE_TAG, Settings, load_recipe, store_url
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe

_JOBS = (
    ("curate_captions", ("captions",), "Read and filter the captions of one source; launch a backfill for all."),
    ("curate_and_draw", ("captions", "images"), "From files to scored pairs for one source; a backfill does all."),
    ("release_set", ("release",), "Select over all sources and release one set; its first partition is the paper's."),
    ("train", ("training",), "Align, tune and evaluate one variant on the released set."),
)


def build(recipe: Recipe, store: str) -> dg.Definitions:
    """The definitions of a recipe over a store."""
    waiting.install()
    settings = Settings(store=store, recipe=recipes.dumps(recipe))
    return dg.Definitions(
        assets=[
            *captions.assets(recipe),
            *images.assets(recipe),
            *release.assets(recipe),
            *training.assets(recipe),
        ],
        asset_checks=checking.definitions(
            [
                *captions.checks(recipe),
                *images.checks(recipe),
                *release.checks(recipe),
                *training.checks(recipe),
            ]
        ),
        # a job's assets share their partitions, so sources, sets and variants have jobs of their own
        jobs=[
            dg.define_asset_job(
                name,
                selection=dg.AssetSelection.groups(*groups),
                description=description,
                tags={RECIPE_TAG: recipe.hash},
            )
            for name, groups, description in _JOBS
        ],
        sensors=[source_files.source_files_sensor(recipe), training.retraining_sensor(recipe)],
        resources={"settings": settings, "worker": Worker()},
        # heavy stages have processes of their own, through Pipes
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of SYNTHVLM_RECIPE over SYNTHVLM_STORE."""
    recipe, store = load_recipe(), store_url()
    Settings(store=store, recipe=recipes.dumps(recipe)).keep_recipe()
    return build(recipe, store)
