"""The code location: everything Dagster shows, assembled for one recipe.

Belongs here: assembly. Does not belong here: any definition of its own, any import of torch, diffusers, transformers
or ray, directly or not (a code location is loaded by the server and by every run).
"""

import os
from typing import Any

import dagster as dg

from synthvlm_assets import automation, checking, console, waiting
from synthvlm_assets.compute import Worker
from synthvlm_assets.defs import captions, images, release, source_files, training
from synthvlm_assets.settings import RECIPE_TAG, Settings, load_recipe, refuse_other_lineage, store_url
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words
from synthvlm_core.recipe.sections import Recipe

_JOBS = (
    ("curate_captions", ("captions",), "Read and filter the captions of one source; launch a backfill for all."),
    ("curate_and_draw", ("captions", "images"), "From files to scored pairs for one source; a backfill does all."),
    ("release_set", ("release",), "Select over all sources and release one set; its first partition is the paper's."),
    ("train", ("training",), "Align, tune and evaluate one variant on the released set."),
)

console.install()  # before anything is defined: that is what Dagster warns of

_DEV = "DAGSTER_verbose"
"""Set, if to nothing, for what `dagster dev` and `dg dev` start, and for nothing else (unlike DAGSTER_IS_DEV_CLI)."""
_NOTHING: dict[str, Any] = {}
"""The schema of what cannot be configured when a run is launched: the UI, a request or `--config` may set nothing.

Without one Dagster takes any configuration, or that of its own defaults: a folder of results, whether a step waits for
the checks before it."""


def build(recipe: Recipe, store: str) -> dg.Definitions:
    """The definitions of a recipe over a store."""
    waiting.install()
    return dg.Definitions(
        assets=[
            *captions.assets(recipe),
            *images.assets(recipe, store),
            *release.assets(recipe, store),
            *training.assets(recipe, store),
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
        sensors=[source_files.source_files_sensor(recipe), *automation.sensors(recipe)],
        resources={
            "settings": _fixed(Settings(recipe, store)),
            "worker": _fixed(Worker()),
            "io_manager": dg.mem_io_manager.configured(lambda _: {}, config_schema=_NOTHING),
        },
        # heavy stages have processes of their own, through Pipes
        executor=dg.in_process_executor.configured(lambda _: {}, name="in_process", config_schema=_NOTHING),
        loggers={"console": console.console},
    )


def _fixed(value: object) -> dg.ResourceDefinition:
    return dg.ResourceDefinition(lambda _: value, config_schema=_NOTHING)


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of SYNTHVLM_RECIPE over SYNTHVLM_STORE.

    Raises:
        Mendable: under `dagster dev`, whose webserver cannot be guarded from here.
        Mendable: if the instance in DAGSTER_HOME holds the history of another recipe: then nothing can be launched, and
            what was made stays as it is.
    """
    try:
        with in_words():
            return _of_environment()
    except Mendable as error:
        raise error.with_traceback(None) from None  # where it was found out tells nothing to who mends it


def _of_environment() -> dg.Definitions:
    if _DEV in os.environ:
        raise Mendable(
            "any web page that a browser on this machine shows could start runs through the webserver of `dagster dev` "
            "and `dg dev`: use `make ui`, which refuses them (docs/security.md)"
        )
    recipe, store = load_recipe(), store_url()
    if os.environ.get("DAGSTER_HOME"):
        with dg.DagsterInstance.get() as instance:
            refuse_other_lineage(instance, recipe)
    Settings(recipe, store).keep_recipe()
    return build(recipe, store)
