"""The recipe and store that this code location serves, and the recipe that a run carries.

Belongs here: reading SYNTHVLM_RECIPE and SYNTHVLM_STORE, and seeing to it that an edit of a recipe file never
reaches into a run or backfill that has begun. Does not belong here: what a recipe says (synthvlm_core.recipe).

A recipe file is read when definitions load. The process that loaded it hands the resolved recipe to the run
processes it starts through the environment, so an edit without a reload reaches no run. A run carries the recipe's
hash as a tag and the store keeps the resolved recipe: retries, re-executions and the other runs of a backfill read
that one, whatever the file says by then. Runs of a job or sensor carry the tag from their launch; a run launched
with the UI's Materialize gets it when its first asset or check begins, or from its backfill.
"""

import base64
import os
import zlib

import dagster as dg

from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

RECIPE_TAG = "synthvlm/recipe"
_RESOLVED = "SYNTHVLM_RESOLVED_RECIPE"
_BACKFILL_TAG = "dagster/backfill"


def load_recipe() -> Recipe:
    """The recipe of this code location, read from the file unless a parent process has handed one down."""
    owner, _, resolved = os.environ.get(_RESOLVED, "").partition(":")
    if resolved and owner != str(os.getpid()):
        return recipes.loads(zlib.decompress(base64.b85decode(resolved)).decode())
    recipe = recipes.load(os.environ.get("SYNTHVLM_RECIPE", "miniature"))
    # compressed, since one variable holds at most 128 KiB
    packed = base64.b85encode(zlib.compress(recipes.dumps(recipe).encode())).decode()
    os.environ[_RESOLVED] = f"{os.getpid()}:{packed}"
    return recipe


def store_url() -> str:
    """The store of this code location: any fsspec URL, by default the folder `store` where the process runs."""
    return os.environ.get("SYNTHVLM_STORE") or "store"


class Settings(dg.ConfigurableResource):
    """Recipe and store for assets, checks and sensors."""

    store: str
    recipe: str

    def open_store(self) -> Store:
        """The store, local or remote."""
        return Store(self.store)

    def loaded_recipe(self) -> Recipe:
        """The recipe that the definitions were loaded with."""
        return recipes.loads(self.recipe)

    def keep_recipe(self) -> None:
        """Keep the loaded recipe in the store, so that a run launched now can read it after an edit."""
        self._keep(self.loaded_recipe())

    def run_recipe(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Recipe:
        """The recipe that this run carries; the first asset or check of a run fixes it.

        Raises:
            dagster.Failure: if this instance's history belongs to a recipe of another name.
        """
        loaded = self.loaded_recipe()
        run = context.instance.get_run_by_id(context.run.run_id)
        tags = run.tags if run is not None else {}
        # a backfill's later runs get their job's tags at their own time, perhaps after an edit: its first run decides
        carried = self._of_backfill(context.instance, tags.get(_BACKFILL_TAG)) or tags.get(RECIPE_TAG)
        recipe = loaded if carried in (None, loaded.hash) else self._stored(carried)
        if recipe is not loaded:
            context.log.warning(
                "This run carries the recipe that it or its backfill was launched with, not the one loaded now. "
                "To use the one loaded now, press Materialize instead of re-executing."
            )
        self._keep(recipe)
        if tags.get(RECIPE_TAG) != recipe.hash and run is not None:
            context.instance.add_run_tags(context.run.run_id, {RECIPE_TAG: recipe.hash})
        _same_lineage(context, recipe)
        return recipe

    def _of_backfill(self, instance: dg.DagsterInstance, backfill: str | None) -> str | None:
        """The recipe that the first run of a backfill carried, if one has begun."""
        if backfill is None:
            return None
        runs = instance.get_runs(filters=dg.RunsFilter(tags={_BACKFILL_TAG: backfill}))
        return next((run.tags[RECIPE_TAG] for run in reversed(runs) if RECIPE_TAG in run.tags), None)

    def _keep(self, recipe: Recipe) -> None:
        store = self.open_store()
        store.put(store.path("recipes", f"{recipe.hash}.json"), recipes.dumps(recipe).encode())

    def _stored(self, recipe_hash: str) -> Recipe:
        store = self.open_store()
        try:
            return recipes.loads(store.get(store.path("recipes", f"{recipe_hash}.json")).decode())
        except FileNotFoundError:
            raise dg.Failure(
                f"this run carries recipe {recipe_hash}, which is not in {store.url()}; was it launched over another "
                "SYNTHVLM_STORE? Press Materialize to run with the recipe loaded now",
                allow_retries=False,
            ) from None


def _same_lineage(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, recipe: Recipe) -> None:
    """Refuse to mix two recipe lineages in one instance: its history and plots would compare unlike things."""
    event = context.instance.get_latest_materialization_event(dg.AssetKey(RawCaptions.name))
    found = event.asset_materialization.metadata.get("recipe") if event and event.asset_materialization else None
    if found is not None and found.value != recipe.name:
        raise dg.Failure(
            f"this Dagster instance holds the history of recipe {found.value!r}, the run is for {recipe.name!r}; "
            "use another DAGSTER_HOME for it, the store may be the same",
            allow_retries=False,
        )
