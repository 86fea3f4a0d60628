"""Stage scored_pairs: every score of every image that counts, from its stored bytes, each computed once.

Belongs here: which pictures still want which score, the table of a source's pairs, its manifest. Does not belong here:
the scores (scorers/), scoring a table of wanted pictures (scoring.py), what follows from scores (selection/).

    scores/<score>/<definition>/<image definition>/source=<name>/<shard>.parquet   append-only, one score of a picture
    scored_pairs/<key>/source=<name>/                                              one row per image that counts, sealed

A score belongs to a picture: it is kept under image id and picture hash, so that a picture drawn again with other bits
keeps no old score. scored_pairs is cut from the scores whenever other images count; it is what selection and checks
read, and never holds a score of an image that counts no longer.

Importing this module does not load torch.
"""

import logging
from collections.abc import Iterator, Sequence
from functools import cached_property, partial
from typing import Any

import pyarrow as pa

from synthvlm_core import engine, hashing
from synthvlm_core.errors import Mendable
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.images.wanted import State
from synthvlm_core.models import weights
from synthvlm_core.parts.score import Score
from synthvlm_core.parts.section import definition, named
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import scoring, summary
from synthvlm_core.stages import Stage, context
from synthvlm_core.store import records, shards, sql
from synthvlm_core.store.documents import Count, Hash, Json, Sealed, document
from synthvlm_core.store.measurements import Measurement
from synthvlm_core.store.records import Column, Table
from synthvlm_core.store.shards import Folder
from synthvlm_core.store.sql import Relation, Scratch

log = logging.getLogger(__name__)

VERSION = 1


@document
class Manifest(Sealed):
    """The scores of a source's images that count."""

    pairs: Count
    scored: Count
    scored_by_score: dict[str, int]
    content_hash: Hash
    spec: Hash
    definitions: dict[str, Hash]
    image_definition: Hash
    inputs: Json


SHARD_ROWS = 2_000
"""Pictures scored between two writes at most: what a kill can cost."""
TABLE = "pairs"


class ContradictoryScores(Mendable):
    """A picture whose values of one score cannot all be right, or that has none; the message says what to do."""


def score_columns(recipe: Recipe) -> list[Column]:
    """A column for each score of the recipe, in its order."""
    return [Column(score.column, pa.float64(), score.meaning) for score in recipe.scores]


def definitions(recipe: Recipe) -> dict[str, str]:
    """By column, the hash of what a score depends on apart from picture and caption.

    Raises:
        Mendable: if weights are missing or must not be loaded.
    """
    return {score.column: _definition(recipe, score) for score in recipe.scores}


def spec(recipe: Recipe) -> str:
    """Hash of the definitions of all scores together: what may be compared. Raises as `definitions`."""
    return hashing.of_json(definitions(recipe))


def score_folder(images: SyntheticImages, score: Score, defined: str) -> Folder:
    """Where the values of a score of a source's images lie.

    Args:
        defined: the score's definition.
    """
    place = ("scores", score.kind_name, defined, images.definition, f"source={images.partition}")
    return Folder(images.store, records.SCORES, images.store.path(*place), ScoredPairs.name)


class ScoredPairs(Stage):
    """The images of one source that count, with all their scores, computed from the stored bytes, each once."""

    name = "scored_pairs"
    over = "source"
    form = Manifest

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of what scores depend on as far as the recipe says it. Quick: reads no weights."""
        where = context(recipe)
        scores = {}
        for score in recipe.scores:
            try:
                content = score.content(where)
            except Mendable:  # told when the stage runs; the definitions must load all the same
                content = "unreadable"
            scores[score.column] = [score.version, named(score), content]
        return hashing.of_json([VERSION, scores])

    @cached_property
    def images(self) -> SyntheticImages:
        """What is scored."""
        return SyntheticImages(self.store, self.recipe, self.partition)

    @property
    def needs(self) -> Sequence[Stage]:
        return (self.images,)

    @cached_property
    def definitions(self) -> dict[str, str]:
        """As the module's function."""
        return definitions(self.recipe)

    @cached_property
    def spec(self) -> str:
        """Hash of the definitions of all scores together."""
        return hashing.of_json(self.definitions)

    @cached_property
    def key(self) -> str:
        """Names the table: the scores' definitions, and the images that count."""
        values = {"scores": self.definitions, "images": self.images.manifest["content_hash"]}
        return definition(self.name, VERSION, {**values, "image_definition": self.images.definition})

    @cached_property
    def path(self) -> str:
        """Where the table lies. Raises NotMaterialized if the images were not drawn yet."""
        return self.store.path(self.name, self.key, f"source={self.partition}")

    @property
    def manifest_path(self) -> str:
        return f"{self.path}/{shards.MANIFEST}"

    @property
    def table(self) -> Table:
        """The record type of the pairs."""
        return records.scored_pairs(score_columns(self.recipe))

    @property
    def folder(self) -> Folder:
        """Where the pairs' shards lie."""
        return Folder(self.store, self.table, self.path)

    def pairs(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The pairs as tables, in the order of image ids, bytes proved."""
        return self.folder.tables((shard.name for shard in self.shards(TABLE)), columns)

    def texts(self) -> Iterator[pa.Table]:
        """The captions of the pairs, and others: caption_id and text."""
        return self.images.captions.kept(["caption_id", "text"])

    @cached_property
    def statistics(self) -> dict[str, dict[str, Any]]:
        """What each score looks like as a whole, the weighted one under the selection's weights: see `summary.of`."""
        with sql.scratch() as scratch:
            pairs = scratch.load(self.table.schema, self.pairs())
            return summary.of(scratch, pairs, summary.expressions(self.recipe))

    def make(self, progress: Progress = silent, *, shard_rows: int = shards.SHARD_ROWS) -> dict[str, Any]:
        """Compute what is missing of each score and cut the table of pairs.

        Args:
            progress: called with (score, pictures scored, pictures to score).
            shard_rows: rows per shard; what is scored is written after SHARD_ROWS rows at the latest.

        Returns:
            The manifest: pairs, scored (now) and scored_by_score, content_hash, spec and definitions,
            image_definition, inputs.

        Raises:
            NotMaterialized: if the images were not drawn yet.
            RecipeError: if a model cannot be loaded as the recipe says.
            UnusableImage: if a stored image cannot be decoded or gets no finite score.
            ContradictoryScores: if two writers left values of one score that are further apart than its bound.
            DamagedShard: if a shard of images is damaged.
        """
        found = shards.sealed(self.store, self.path, {TABLE: self.folder}, self.form)
        if found is not None and self._is_measured(found):
            self.made(found)
            return {**found, "scored": 0, "scored_by_score": dict.fromkeys(found["scored_by_score"], 0)}
        with sql.scratch() as scratch:
            state = self.images.state(scratch)
            scored, values = {}, {}
            for score in self.recipe.scores:
                values[score.column], scored[score.column] = self._score(scratch, state, score, shard_rows, progress)
            kept = self._store(scratch, state, values, shard_rows)
        manifest = {
            "table": self.table.name,
            "source": self.partition,
            "pairs": sum(shard.rows for shard in kept),
            "scored": sum(scored.values()),
            "scored_by_score": scored,
            "content_hash": shards.content_hash(kept),
            "spec": self.spec,
            "definitions": self.definitions,
            "image_definition": self.images.definition,
            "inputs": {"images": self.images.manifest["content_hash"]},
        }
        return self.made(shards.seal(self.store, self.path, manifest, {TABLE: kept}))

    def score_folder(self, score: Score) -> Folder:
        """Where the values of a score lie."""
        return score_folder(self.images, score, self.definitions[score.column])

    def _is_measured(self, found: dict[str, Any]) -> bool:
        """Whether every score of a table's pairs is still there by itself, undamaged."""
        columns = ["image_id", "picture_hash"]
        schema = pa.schema([records.SCORES.schema.field(name) for name in columns])
        with sql.scratch() as scratch:
            tables = self.folder.tables((shard.name for shard in shards.shards_of(found, TABLE)), columns)
            pairs = scratch.load(schema, tables)
            for score in self.recipe.scores:
                stored = scratch.load(schema, self.score_folder(score).sound_tables(columns))
                if missing := scratch.count(f"(from {pairs} anti join {stored} using (image_id, picture_hash))"):
                    log.warning("%s of %d pictures is gone; it is computed again now", score.column, missing)
                    return False
        return True

    def stored_values(self, scratch: Scratch, state: State, score: Score) -> Relation:
        """The values of a score that are stored for the pictures that count: image_id, value, apart.

        Raises:
            DamagedShard: if a shard of them is damaged.
        """
        folder = self.score_folder(score)
        columns = ["image_id", "picture_hash", "value"]
        schema = pa.schema([records.SCORES.schema.field(name) for name in columns])
        return known_values(scratch, state, scratch.load(schema, folder.tables(folder.names(), columns)))

    def _score(
        self, scratch: Scratch, state: State, score: Score, shard_rows: int, progress: Progress
    ) -> tuple[Relation, int]:
        """Score the pictures that count and have no value yet. Returns one row per picture: image_id, value, apart."""
        folder = self.score_folder(score)
        columns = ["image_id", "picture_hash", "value"]
        schema = pa.schema([records.SCORES.schema.field(name) for name in columns])
        stored = scratch.load(schema, folder.sound_tables(columns))
        wanted = scratch.create(
            f"""
            select shard, image_id, picture_hash, caption_id, text
            from {state.counting} join {state.captions} using (caption_id)
            anti join {stored} using (image_id, picture_hash)
            """
        )
        total = scratch.count(wanted)
        measurement = Measurement(
            table=records.SCORES,
            definition=self.definitions[score.column],
            load=partial(scoring.load, score, self.context, self.images.folder),
            shard_rows=SHARD_ROWS,
        )
        made = engine.measure(
            measurement,
            folder,
            # in the order of image shards, so that each is read once, or twice where a shard of scores ends in it
            scratch.tables(f"select * from {wanted} order by shard, image_id", rows=min(shard_rows, SHARD_ROWS)),
            total=total,
            what=score.column,
            progress=progress,
        )
        scratch.add(stored, folder.tables((shard.name for shard in made), columns))
        values = known_values(scratch, state, stored)
        wrong = scratch.rows(
            f"""
            select image_id, apart
            from {state.counting} left join {values} using (image_id)
            where apart is null or not isfinite(value) or apart > ?
            order by image_id
            limit 1
            """,
            [score.bound],
        )
        if wrong:
            image_id, apart = wrong[0]
            problem = "has none" if apart is None else f"has values {apart:.1e} apart, {score.bound:.0e} allowed"
            raise ContradictoryScores(
                f"{score.column} of image {image_id} {problem} in {self.store.unstrip(folder.path)}; delete that "
                "folder and materialize scored_pairs again"
            )
        for relation in (stored, wanted):
            scratch.drop(relation)
        return values, total

    def _store(
        self, scratch: Scratch, state: State, values: dict[str, Relation], shard_rows: int
    ) -> list[shards.Shard]:
        """Write one row per image that counts, in the order of ids."""
        writer = shards.Writer(self.folder, shard_rows=shard_rows)
        for part in scratch.tables(pairs_query(state, values, self.partition)):
            writer.add(part.cast(self.table.schema))
        return writer.close()


def known_values(scratch: Scratch, state: State, stored: Relation) -> Relation:
    """One row for each picture that counts and has a value: image_id, value, apart.

    Two writers at once may have scored the same picture, on different processors with different last bits. The lower
    value stands then, whoever was first; `apart` says how far they are from each other.

    Args:
        stored: image_id, picture_hash and value of one score.
    """
    return scratch.create(
        f"""
        select image_id, min(value) as value, max(value) - min(value) as apart
        from {stored} semi join {state.counting} using (image_id, picture_hash)
        group by image_id
        """
    )


def pairs_query(state: State, values: dict[str, Relation], source: str) -> str:
    """SQL for the pairs of a source in the order of image ids: every image that counts and has all scores.

    Args:
        values: by column, the relation of `known_values`.
    """
    scores = ", ".join(f"{relation}.value as {column}" for column, relation in values.items())
    joins = "\n".join(f"join {relation} on {relation}.image_id = counting.image_id" for relation in values.values())
    return f"""
        select
            counting.image_id, counting.picture_hash, counting.caption_id, '{source}' as source, counting.k, {scores}
        from {state.counting} as counting
        {joins}
        order by counting.image_id
    """


def _definition(recipe: Recipe, score: Score) -> str:
    values = named(score, weights=weights.identify(recipe.folder), leave_out=("name",), key=f"scores.{score.column}")
    content = score.content(context(recipe))
    return definition("score", score.version, values if content is None else {**values, "content": content})
