"""The recipe and store that this code location serves, and the recipe that a run carries.

Belongs here: reading SYNTHVLM_RECIPE and SYNTHVLM_STORE, and seeing to it that an edit of a recipe file never
reaches into a run or backfill that has begun. Does not belong here: what a recipe says (synthvlm_core.recipe).

A recipe file is read when definitions load. The process that loaded it hands the resolved recipe to the run
processes it starts through the environment, so an edit without a reload reaches no run. A run carries the recipe's
hash as a tag and the store keeps the resolved recipe: retries, re-executions and the other runs of a backfill read
that one, whatever the file says by then. Runs of a job or sensor carry the tag from their launch; a run launched
with the UI's Materialize gets it when its first asset or check begins, or from its backfill.

Nothing here can be set when a run is launched: recipe and store come from the code location alone. The tag chooses
among the recipes of this name that the store keeps.
"""

import base64
import json
import os
import re
import zlib
from dataclasses import dataclass

import dagster as dg

from synthvlm_core import hashing
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

RECIPE_TAG = "synthvlm/recipe"
_RESOLVED = "SYNTHVLM_RESOLVED_RECIPE"
_BACKFILL_TAG = "dagster/backfill"
_HASH = re.compile(r"[0-9a-f]{32}")


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


def refuse_other_lineage(instance: dg.DagsterInstance, recipe: Recipe) -> None:
    """See to it that one instance holds the history of one recipe: its plots would compare unlike things.

    Raises:
        Mendable: if the instance's history belongs to a recipe of another name.
    """
    event = instance.get_latest_materialization_event(dg.AssetKey(RawCaptions.name))
    found = event.asset_materialization.metadata.get("recipe") if event and event.asset_materialization else None
    if found is not None and found.value != recipe.name:
        raise Mendable(
            f"this Dagster instance holds the history of recipe {found.value!r}, and {recipe.name!r} is to run; "
            "use another DAGSTER_HOME for it, the store may be the same"
        )


@dataclass(frozen=True)
class Settings:
    """Recipe and store for assets, checks and sensors. A plain object, so that no run configuration reaches it."""

    recipe: Recipe
    """The recipe that the definitions were loaded with."""
    store: str

    def open_store(self) -> Store:
        """The store, local or remote."""
        return Store(self.store)

    def keep_recipe(self) -> None:
        """Keep the loaded recipe in the store, so that a run launched now can read it after an edit."""
        self._keep(self.recipe)

    def run_recipe(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Recipe:
        """The recipe that this run carries; the first asset or check of a run fixes it.

        A run whose recipe cannot be used here ends as canceled, and says why: were it to fail, Dagster would show as
        failed what was made before and is sound.

        Raises:
            dagster.Failure: if this instance's history belongs to a recipe of another name, or the run carries a recipe
                that the store does not hold or that has another name than the one loaded.
        """
        run = context.instance.get_run_by_id(context.run.run_id)
        tags = run.tags if run is not None else {}
        # a backfill's later runs get their job's tags at their own time, perhaps after an edit: its first run decides
        carried = self._of_backfill(context.instance, tags.get(_BACKFILL_TAG)) or tags.get(RECIPE_TAG)
        try:
            with in_words():
                recipe = self.recipe if carried in (None, self.recipe.hash) else self._stored(carried)
                refuse_other_lineage(context.instance, recipe)
        except Mendable as error:
            if run is not None:
                context.instance.report_run_canceling(run, str(error))
            raise dg.Failure(str(error), allow_retries=False) from None
        if recipe is not self.recipe:
            context.log.warning(
                "This run carries the recipe that it or its backfill was launched with, not the one loaded now. "
                "To use the one loaded now, press Materialize instead of re-executing."
            )
        self._keep(recipe)
        if tags.get(RECIPE_TAG) != recipe.hash and run is not None:
            context.instance.add_run_tags(context.run.run_id, {RECIPE_TAG: recipe.hash})
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

    def _stored(self, carried: str) -> Recipe:
        """The recipe of a tag. Whoever launches a run writes its tags: they name what was kept here, and no more.

        The folder is that of the loaded recipe: the hash does not cover it.
        """
        again = "press Materialize to run with the recipe loaded now"
        if not _HASH.fullmatch(carried):
            raise Mendable(f"the tag {RECIPE_TAG} of this run is no hash: {carried[:80]!r}; {again}")
        store = self.open_store()
        path = store.path("recipes", f"{carried}.json")
        try:
            text = store.get(path)
        except FileNotFoundError:
            raise Mendable(
                f"this run carries recipe {carried}, which is not in {store.url()}; was it launched over another "
                f"SYNTHVLM_STORE? If so, {again}"
            ) from None
        if _hash_of(text) != carried:
            raise Mendable(f"{store.unstrip(path)} does not hold the recipe of its name: delete it and {again}")
        recipe = recipes.loads(text.decode())
        if recipe.name != self.recipe.name:
            raise Mendable(f"this run carries recipe {recipe.name!r}, loaded is {self.recipe.name!r}; {again}")
        return recipe.model_copy(update={"folder": self.recipe.folder})


def _hash_of(text: bytes) -> str | None:
    """The hash of a recipe as it was kept, perhaps by an earlier version that knew fewer keys; None if it is none."""
    try:
        values = json.loads(text)
        values.pop("folder", None)
        return hashing.of_json(values)
    except (ValueError, AttributeError, RecursionError):
        return None
