"""Stage synthetic_images: draw what nobody drew yet, judge it, draw the unhealthy again, declare what counts.

Belongs here: what an image depends on, rounds of drawing, the manifest. Does not belong here: which images are wanted
(wanted.py), what becomes of a request (drawing.py), the loop that draws (engine.py).

    synthetic_images/<definition>/source=<name>/<shard>.parquet        append-only, keyed by image id
    synthetic_images/<definition>/source=<name>/environments/*.json    on what the shards were drawn
    synthetic_images/<definition>/source=<name>/manifests/<key>.json   what counts for some captions and a K

What was drawn for captions that are no longer kept stays, and counts again when they return.

The batch size is no part of the definition. Between batch sizes, as between processors, pixels agree within a PSNR
(docs/images.md); bytes are the same for the same wheels, processor, threads and batch size only. An image that is drawn
again keeps its id, and may get other last bits. Nothing wrong is reused then: scores are kept by picture hash, and the
manifest's content hash is over the hashes of the pictures.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Annotated, Any

import pyarrow as pa
from pydantic import Field
from typing_extensions import TypedDict

from synthvlm_core import engine, hashing
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.errors import Mendable, RecipeError
from synthvlm_core.images import drawing, wanted
from synthvlm_core.images.drawing import image_id as image_id
from synthvlm_core.images.wanted import State
from synthvlm_core.models import weights
from synthvlm_core.parts import section
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage, context
from synthvlm_core.store import sql
from synthvlm_core.store.documents import Count, Hash, Json, document
from synthvlm_core.store.objects import DamagedObject
from synthvlm_core.store.records import SYNTHETIC_IMAGES
from synthvlm_core.store.shards import Folder
from synthvlm_core.store.sql import Relation, Scratch

log = logging.getLogger(__name__)

VERSION = 1


@document
class ShardOfImages(TypedDict):
    """A shard that holds images of the source, and how many of them count."""

    name: Annotated[str, Field(pattern=r"^[0-9a-f]{32}\.parquet$")]
    counting: Count


@document
class Manifest(TypedDict):
    """Which images of a source count."""

    captions: Count
    wanted: Count
    healthy: Count
    given_up: Count
    attempts: Count
    unhealthy: Count
    refused: Count
    redrawn: Count
    truncated_prompts: Count
    content_hash: Hash
    definition: Hash
    shards: list[ShardOfImages]
    inputs: Json
    environments: list[Any]


UNDECIDED = ("images_per_caption", "health.max_attempts")
"""How many images a caption gets and how often one is tried again decides which images there are, not what they are:
raising either draws the missing ones only."""


def definition(recipe: Recipe) -> str:
    """Hash of what a stored image depends on apart from its caption, k and attempt.

    Raises:
        Mendable: if weights, or files that the generator names, are missing.
    """
    generator, where = recipe.generator, context(recipe)
    identify = weights.identify(recipe.folder)
    values = {
        "generator": section.named(generator, weights=identify, leave_out=UNDECIDED, key="generator"),
        "seed": recipe.seed,
    }
    content = generator.content(where)
    if content is not None:
        values["content"] = content
    return section.definition(SYNTHETIC_IMAGES.name, generator.version, values)


class SyntheticImages(Stage):
    """The images of one source's kept captions."""

    name = "synthetic_images"
    over = "source"
    form = Manifest

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of what the images that count depend on apart from captions and weights."""
        generator = recipe.generator
        try:
            content = generator.content(context(recipe))
        except Mendable:  # told when the stage runs; the definitions must load all the same
            content = "unreadable"
        return hashing.of_json([VERSION, generator.version, section.named(generator), recipe.seed, content])

    @cached_property
    def captions(self) -> FilteredCaptions:
        """What is drawn."""
        return FilteredCaptions(self.store, self.recipe, self.partition)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.captions,)

    @cached_property
    def definition(self) -> str:
        """What an image depends on apart from its caption, k and attempt. Raises as the module's function."""
        return definition(self.recipe)

    @property
    def folder(self) -> Folder:
        """Where the images lie."""
        path = self.store.path(self.name, self.definition, f"source={self.partition}")
        return Folder(self.store, SYNTHETIC_IMAGES, path)

    @cached_property
    def key(self) -> str:
        """Names what counts: the kept captions, how many images each gets and how often one is tried."""
        generator = self.recipe.generator
        content = self.captions.manifest["content_hash"]
        return hashing.of_json([content, generator.images_per_caption, generator.health.max_attempts])

    @property
    def manifest_path(self) -> str:
        return f"{self.folder.path}/manifests/{self.key}.json"

    def make(self, progress: Progress = silent, *, shard_rows: int = drawing.SHARD_ROWS) -> dict[str, Any]:
        """Draw the missing images of a source's kept captions and declare which count.

        Run again on the same captions, it verifies every byte stored, sets damaged shards aside and draws their images
        again; otherwise it reads of stored shards the narrow columns alone.

        Args:
            progress: called with ("draw" or "draw again", images done, images to do) after every batch.
            shard_rows: images per shard, rounded down to whole batches.

        Returns:
            The manifest: captions, wanted, healthy (the images that count), given_up, attempts stored for them,
            unhealthy, refused and redrawn among these, truncated_prompts, drawn (now), content_hash, definition,
            shards, inputs.

        Raises:
            NotMaterialized: if the captions were not filtered yet.
            RecipeError: if the generator section cannot be followed.
        """
        generator, folder = self.recipe.generator, self.folder
        if (why := generator.unavailable(self.context)) is not None:
            raise RecipeError(f"generator: {generator.kind_name}: {why}")
        if self._was_declared():
            for name in folder.names():
                folder.is_sound(name)
        measurement = drawing.measurement(generator, self.context, self.partition, self.definition, folder)
        rows = max(generator.batch_size, shard_rows - shard_rows % generator.batch_size)
        drawn = 0
        with sql.scratch() as scratch:
            state = State(scratch, generator, self.captions.kept(["caption_id", "text"]))
            state.take(folder, folder.names(), repair=True)
            while total := scratch.count(requests := state.wanted()):
                # in the order of ids, so that two runs at once cut the same shards and store them once
                shards = engine.measure(
                    measurement,
                    folder,
                    scratch.tables(f"select * from {requests} order by caption_id, k", rows=rows),
                    total=total,
                    what="draw again" if drawn else "draw",
                    progress=progress,
                )
                state.take(folder, [shard.name for shard in shards])
                scratch.drop(requests)
                drawn += total
            found = {
                "table": SYNTHETIC_IMAGES.name,
                "source": self.partition,
                **state.counts(),
                "drawn": drawn,
                "definition": self.definition,
                "shards": state.shards(),
                "inputs": {"kept_captions": self.captions.manifest["content_hash"]},
                "environments": drawing.environments(folder),
            }
        self.store.put_json(self.manifest_path, found)
        return self.made(found)

    def _was_declared(self) -> bool:
        """Whether there is a manifest, sound or damaged."""
        try:
            return self.find() is not None
        except DamagedObject as damage:
            log.warning("%s; it is made again now", damage)
            return True

    @property
    def shard_names(self) -> list[str]:
        """The shards that hold the images of the manifest, counting or not."""
        return [shard["name"] for shard in self.manifest["shards"]]

    def state(self, scratch: Scratch) -> State:
        """What the manifest speaks of, as tables of a scratch database, without any picture.

        Raises:
            NotMaterialized: as `manifest`.
            DamagedShard: if a shard is gone or not readable.
        """
        names = self.shard_names
        state = State(scratch, self.recipe.generator, self.captions.kept(["caption_id", "text"]))
        state.take(self.folder, names)
        return state

    def pictures(self, scratch: Scratch, wanted_images: Relation) -> Iterator[pa.Table]:
        """Whole rows of some images with a column `shard`, one shard in memory at a time, bytes proved.

        Args:
            wanted_images: relation with shard and image_id, as those of `state`.

        Raises:
            DamagedShard: naming shard and remedy.
        """
        return wanted.pictures(scratch, self.folder, wanted_images)

    def counting_images(self) -> Iterator[pa.Table]:
        """The images that count, in the columns of synthetic_images, one table per shard that has any.

        Raises:
            NotMaterialized: as `manifest`.
            DamagedShard: naming shard and remedy.
        """
        with sql.scratch() as scratch:
            for rows in self.pictures(scratch, self.state(scratch).counting):
                yield rows.drop_columns(["shard"])
