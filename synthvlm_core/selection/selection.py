"""Selection: the best image of each caption, then the best pairs of all sources, exactly.

Belongs here: which pairs may be taken, ranking, controls. Does not belong here: thresholds (thresholds.py), what is
told of a selection (report.py), scores (scoring) and the files of a release (release).

A pair can be taken if its source meets the recipe's thresholds and the pair lies nowhere below the floor. Of a
caption's images that can be taken one stands for it; of those the first `size` are the set. A set of the recipe says
which is first:

    weighted_score   the highest sum of weight * score, in double precision; of equals the lower image id
    random           captions in the order of lots, of each the image with the lowest lot: a control
    first_image      captions in the order of lots, of each the first image that can be taken: a control

A lot is the SHA-256 of (seed, id): as good as random, and the same wherever the row stands. Captions and images draw
two of them, since captions with more images would come first more often otherwise.
"""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from synthvlm_core.errors import Mendable
from synthvlm_core.findings import Finding
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe, ReleasedSet
from synthvlm_core.scoring import summary
from synthvlm_core.scoring.scored import score_columns
from synthvlm_core.selection import report, thresholds
from synthvlm_core.store import records, sql
from synthvlm_core.store.sql import Relation, Scratch

BATCH_ROWS = 10_000


class TooFewPairs(Mendable):
    """Fewer pairs can be taken than the recipe asks for; the message says how many of each source and why."""


class UnsoundScores(Mendable):
    """Scores that nothing may be selected by: of several definitions, not finite, doubled or of another source."""


class Candidates(Protocol):
    """What selection needs to know of a source: a ScoredPairs, or what one would be."""

    partition: str

    @property
    def manifest(self) -> dict[str, Any]:
        """Has `spec` and `image_definition`."""

    def pairs(self) -> Iterator[pa.Table]:
        """Rows of records.scored_pairs, in any order and number of tables."""

    def texts(self) -> Iterator[pa.Table]:
        """caption_id and text of every caption that has a pair; others may be there too."""


@dataclass(frozen=True)
class Ranked:
    """A selection, to be read while its context is open."""

    report: dict[str, Any]
    """See `report.of`."""
    schema: pa.Schema
    """Of its tables: records.ranked."""
    _scratch: Scratch
    _rows: Relation

    def tables(self, rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """The pairs by rank, in tables of at most `rows` rows, never all at once."""
        query = f"select {', '.join(self.schema.names)} from {self._rows} order by rank"
        for part in self._scratch.tables(query, rows=rows):
            yield part.cast(self.schema)


@contextlib.contextmanager
def ranked(sources: Sequence[Candidates], recipe: Recipe, name: str) -> Iterator[Ranked]:
    """Select one of the recipe's sets; the result lives as long as the context.

    Exact, and equal for any order and sharding of the rows. Memory is bounded: what must be sorted spills to disk.

    Args:
        sources: all sources of the recipe. One that fails its thresholds contributes nothing and is reported.
        name: of the set.

    Raises:
        NotMaterialized: if a source lacks its scores. No set is built silently without it.
        UnsoundScores: if sources differ in the definition of scores or images, or if a row has a score that is not
            finite, an image id that occurred before, or another source.
        TooFewPairs: if fewer than the set's size can be taken.
    """
    chosen = recipe.released_set(name)
    refuse_mixed(sources)
    schema = records.ranked(score_columns(recipe)).schema
    with sql.scratch() as scratch:
        pairs = _collect(scratch, sources, recipe, chosen)
        _refuse_unsound(scratch, pairs, recipe)
        verdicts = {
            source.partition: thresholds.verify(
                scratch, f"(select * from {pairs} where home = '{source.partition}')", recipe, source.partition
            )
            for source in sources
        }
        best, taken = _choose(scratch, pairs, recipe, chosen, verdicts)
        named = [(source.partition, source.manifest) for source in sources]
        told = report.of(scratch, named, recipe, chosen, pairs=pairs, best=best, taken=taken, verdicts=verdicts)
        if told["available"] < told["size"]:
            raise TooFewPairs(report.too_few(told))
        yield Ranked(told, schema, scratch, _with_texts(scratch, sources, taken))


def refuse_mixed(sources: Sequence[Candidates]) -> None:
    """Raise UnsoundScores unless all sources were scored and drawn under one definition each."""
    for what, found in (
        ("scores", {source.partition: source.manifest["spec"] for source in sources}),
        ("images", {source.partition: source.manifest["image_definition"] for source in sources}),
    ):
        if len(set(found.values())) > 1:
            named = ", ".join(f"{name} {definition}" for name, definition in found.items())
            raise UnsoundScores(
                f"the {what} of the sources have several definitions ({named}), and what one calls better means "
                "nothing to the other; materialize the sources with one recipe"
            )


def _collect(scratch: Scratch, sources: Sequence[Candidates], recipe: Recipe, chosen: ReleasedSet) -> Relation:
    """Every scored pair, with its weighted score and whether it lies nowhere below the floor."""
    table = records.scored_pairs(score_columns(recipe))
    rows = scratch.load(table.schema.append(pa.field("home", pa.string())), [])
    for source in sources:
        for part in source.pairs():
            home = pa.array([source.partition] * part.num_rows, pa.string())
            scratch.add(rows, [part.append_column("home", home)])
    weights = chosen.weights or recipe.selection.weights
    pairs = scratch.create(
        f"select *, {summary.weighted(weights)} as {WEIGHTED}, {thresholds.above(recipe)} as above from {rows}"
    )
    scratch.drop(rows)
    return pairs


def _refuse_unsound(scratch: Scratch, pairs: Relation, recipe: Recipe) -> None:
    broken = f"not ({thresholds.finite(recipe)} and isfinite({WEIGHTED}))"
    for problem, query in (
        ("has a score that is not finite", f"select image_id, home from {pairs} where {broken}"),
        ("is of another source", f"select image_id, home from {pairs} where source is distinct from home"),
        (
            "occurs more than once",
            f"select image_id, min(home) as home from {pairs} group by image_id having count(*) > 1",
        ),
    ):
        found = scratch.rows(f"{query} order by image_id limit 1")
        if found:
            image_id, home = found[0]
            raise UnsoundScores(
                f"image {image_id} among the scores of source {home!r} {problem}; delete the scores of that source and "
                "materialize scored_pairs again"
            )


def _choose(
    scratch: Scratch, pairs: Relation, recipe: Recipe, chosen: ReleasedSet, verdicts: dict[str, Finding]
) -> tuple[Relation, Relation]:
    """One pair per caption, and of those the first `size` with their rank."""
    image, caption = {
        "weighted_score": (f"{WEIGHTED} desc", f"{WEIGHTED} desc"),
        "random": (_lot(recipe.seed, "image", "image_id"), _lot(recipe.seed, "caption", "caption_id")),
        "first_image": ("k", _lot(recipe.seed, "caption", "caption_id")),
    }[chosen.by]
    passing = scratch.load(
        pa.schema([pa.field("source", pa.string())]),
        [pa.table({"source": pa.array([name for name, verdict in verdicts.items() if verdict.passed], pa.string())})],
    )
    best = scratch.create(
        f"""
        select {pairs}.*
        from {pairs} semi join {passing} using (source)
        where above
        qualify row_number() over (partition by caption_id order by {image}, image_id) = 1
        """
    )
    taken = scratch.create(
        f"""
        select *, row_number() over (order by {caption}, image_id) as rank
        from {best}
        qualify rank <= {chosen.size or recipe.selection.size}
        """
    )
    return best, taken


def _lot(seed: int, what: str, column: str) -> str:
    """SQL for a number as good as random that a row keeps wherever it stands: SHA-256 as 64 hex characters."""
    return f"sha256('synthvlm {what} {seed} ' || {column})"


def _with_texts(scratch: Scratch, sources: Sequence[Candidates], taken: Relation) -> Relation:
    """What was taken, with its captions.

    Raises:
        UnsoundScores: if a caption has no text or several.
    """
    columns = ["caption_id", "text"]
    schema = pa.schema([records.FILTERED_CAPTIONS.schema.field(name) for name in columns])
    texts = scratch.load(schema, [])
    for source in sources:
        scratch.add(texts, source.texts())
    wrong = scratch.rows(
        f"""
        select caption_id, count(text) as n
        from {taken} left join {texts} using (caption_id)
        group by caption_id
        having n <> 1
        order by caption_id
        limit 1
        """
    )
    if wrong:
        raise UnsoundScores(
            f"caption {wrong[0][0]} has {wrong[0][1]} texts among the kept captions; materialize from "
            "filtered_captions on again"
        )
    return scratch.create(f"select * from {taken} join {texts} using (caption_id)")
