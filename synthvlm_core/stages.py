"""Stages: one asset's worth of work, each with a key, a place, a manifest and one way of not being there yet.

Belongs here: what all stages have in common. Does not belong here: any stage (the rooms), what a stage's tables hold
(store/records.py).

A stage object is one partition of one stage under one recipe: `FilteredCaptions(store, recipe, "laion")`. It knows the
stages it reads (`.raw`), and works out its key and reads its manifest once: pass the object on, do not make it again.

    code version    what the recipe says that the stage's result depends on; reads no file, and is what Dagster shows
    key             code version, what the inputs hold and what weights are: names the result in the store
"""

import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from typing import Any, ClassVar, Literal, cast

from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.parts.part import Context
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.documents import Made
from synthvlm_core.store.objects import DamagedObject, Store
from synthvlm_core.store.shards import Shard, shards_of

log = logging.getLogger(__name__)


class Stage(ABC):
    """One partition of a stage under one recipe."""

    name: ClassVar[str]
    """The asset's name."""
    over: ClassVar[Literal["source", "set", "variant"]]
    """What its partitions are."""
    form: ClassVar[Any]
    """What its manifest must be: a TypedDict."""

    def __init__(self, store: Store, recipe: Recipe, partition: str) -> None:
        self.store, self.recipe, self.partition = store, recipe, partition

    @classmethod
    def partitions(cls, recipe: Recipe) -> list[str]:
        """The names of its partitions, in the recipe's order."""
        named = {"source": recipe.sources, "set": recipe.selection.sets, "variant": recipe.training.variants}
        return [found.name for found in named[cls.over]]  # type: ignore[attr-defined]  # all three have names

    @property
    @abstractmethod
    def needs(self) -> "Sequence[Stage]":
        """The stages that it reads, the same objects every time."""

    @classmethod
    @abstractmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of what the result depends on as far as the recipe says it. Quick: reads no weights."""

    @abstractmethod
    def make(self, progress: Progress = silent) -> dict[str, Any]:
        """Do what is not done yet.

        Returns:
            The manifest, with what was done now.

        Raises:
            Mendable: if a person must do something first.
        """

    @property
    @abstractmethod
    def manifest_path(self) -> str:
        """Where the manifest lies, which is written last. Raises NotMaterialized if an input is not there yet."""

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the stage made for the recipe and its inputs as they are now.

        Raises:
            NotMaterialized: with the remedy, if it made nothing yet.
        """
        found = self.find()
        if found is None:
            raise self.not_there_yet()
        return found

    def find(self) -> dict[str, Any] | None:
        """The manifest, None if there is none yet.

        Raises:
            NotMaterialized: if an input is not there yet.
            DamagedDocument: if something else stands in its place.
        """
        found: dict[str, Any] | None = self.store.get_json(self.manifest_path, self.form, self.remedy)
        return found

    def find_sound(self) -> dict[str, Any] | None:
        """As `find`, for whoever makes the stage: a damaged manifest is named in the log, and as good as none."""
        try:
            return self.find()
        except DamagedObject as damage:
            log.warning("%s; it is made again now", damage)
            return None

    @property
    def remedy(self) -> str:
        """What to do about damage."""
        return f"materialize {self.name} of {self.partition!r} again"

    def not_there_yet(self) -> NotMaterialized:
        """The one error for a stage that has not run for these inputs."""
        return NotMaterialized(
            f"{self.name} of {self.partition!r} is not in {self.store.url()} for this recipe and its inputs as they "
            f"are now: materialize {self.name} first"
        )

    @property
    def context(self) -> Context:
        """What parts may need to know."""
        return context(self.recipe)

    def shards(self, table: str) -> list[Shard]:
        """The shards that the manifest names for a table."""
        return shards_of(self.manifest, table)

    def made(self, manifest: dict[str, Any]) -> dict[str, Any]:
        """Remember what was just made, so that nobody reads it again, and where, so that `previous` finds it."""
        self.__dict__["manifest"] = manifest
        made: Made = {
            "manifest": self.manifest_path.removeprefix(f"{self.store.root}/"),
            "code_version": self.code_version(self.recipe),
            "settings": self.settings,
            "content": manifest["content_hash"],
            "inputs": {},
        }
        for need in self.needs:
            with contextlib.suppress(Mendable):  # it was found by its key alone, and what it was made of is gone
                made["inputs"][need.title] = need.manifest["content_hash"]
        self.store.put_json(self._latest, made)
        return manifest

    @property
    def title(self) -> str:
        """Stage and partition, as one name."""
        return f"{self.name}/{self.partition}"

    @property
    def settings(self) -> str:
        """The code version as if the recipe had this partition alone. Quick, as that is."""
        return self.code_version(_narrowed(self.recipe, self.over, self.partition))

    def last_made(self) -> Made | None:
        """What was written down when this was made last under the recipe's name; None if nothing, or nothing sound."""
        try:
            return cast(Made | None, self.store.get_json(self._latest, Made))
        except DamagedObject as damage:
            log.warning("%s; what was made last is not known", damage)
            return None

    def previous(self) -> tuple[str, dict[str, Any]] | None:
        """Folder and manifest of what a recipe of this name made last, under whatever settings; None if nothing."""
        latest = self.last_made()
        if latest is None:
            return None
        path = self.store.path(latest["manifest"])
        try:
            found: dict[str, Any] | None = self.store.get_json(path, self.form)
        except DamagedObject as damage:
            log.warning("%s; what was made last is not known", damage)
            return None
        return (path.rpartition("/")[0], found) if found is not None else None

    @property
    def _latest(self) -> str:
        return self.store.path("latest", self.recipe.name, self.name, f"{self.partition}.json")


def _narrowed(recipe: Recipe, over: str, partition: str) -> Recipe:
    """The recipe with one source, set or variant."""
    if over == "source":
        return recipe.model_copy(update={"sources": (recipe.source(partition),)})
    if over == "set":
        chosen = recipe.selection.model_copy(update={"sets": (recipe.released_set(partition),)})
        return recipe.model_copy(update={"selection": chosen})
    training = recipe.training.model_copy(update={"variants": (recipe.variant(partition),)})
    return recipe.model_copy(update={"training": training})


def context(recipe: Recipe) -> Context:
    """What parts may need to know of a recipe."""
    return Context(folder=recipe.folder, seed=recipe.seed, threads=recipe.threads)
