"""Scoring a table of wanted pictures: from their shards through the one decoder to a score each.

Belongs here: what a worker does with wanted rows, batches, errors that name the picture. Does not belong here: which
are wanted (scored.py), the scores (scorers/).
"""

import hashlib
import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from synthvlm_core import decoding
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import context
from synthvlm_core.store import records
from synthvlm_core.store.measurements import Measure
from synthvlm_core.store.shards import Folder

LEAST_LOOKED_AT = 500
"""Pictures that a check scores again at least: enough to meet, with 99 % certainty, damage that touches 1 % of them."""


class UnusableImage(Mendable):
    """A stored image that cannot be scored; the message names image, shard and remedy."""


def load(score: Score, where: Context, images: Folder) -> Measure:
    """Load a score for pictures of a folder of synthetic_images.

    The function takes rows of shard, image_id, picture_hash, caption_id and text in the order of shards; one image
    shard is in memory at a time.

    Raises:
        RecipeError: if a model cannot be loaded as the recipe says.
    """
    scorer = score.load(where)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        found: list[dict[str, Any]] = []
        with ThreadPoolExecutor(where.threads) as pool:
            pending: list[dict[str, Any]] = []
            for shard in dict.fromkeys(rows["shard"].to_pylist()):
                pending += _pictures(images, shard, rows.filter(pc.equal(rows["shard"], shard)))
                while len(pending) >= score.batch_size:
                    found += _scored(score, scorer, pending[: score.batch_size], pool, tick, len(found))
                    pending = pending[score.batch_size :]
            if pending:
                found += _scored(score, scorer, pending, pool, tick, len(found))
        return pa.Table.from_pylist(found, records.SCORES.schema).sort_by("image_id")

    return measure


def values_of(score: Score, scorer: Scorer, rows: Sequence[dict[str, Any]], pool: Executor) -> list[float]:
    """The score of stored images, computed from their bytes.

    Args:
        rows: `image_id`, `text`, `image`, `picture_hash` and `shard`, the URL where the row lies.
        pool: decodes; that does not hold the interpreter's lock.

    Raises:
        UnusableImage: if an image cannot be decoded or gets no finite score.
    """
    pictures = list(pool.map(_decoded, rows))
    try:
        values: list[float] = scorer(pictures, [row["text"] for row in rows]).tolist()
    except Mendable:  # not a picture's fault
        raise
    except ValueError:
        values = [_alone(scorer, picture, row) for picture, row in zip(pictures, rows, strict=True)]
    for row, value in zip(rows, values, strict=True):
        if not math.isfinite(value):
            raise UnusableImage(_unusable(row, f"its {score.label} is {value}"))
    return values


def recomputed(recipe: Recipe, rows: Iterable[dict[str, Any]]) -> tuple[dict[str, float], list[str], int]:
    """Every score of the recipe computed again from stored bytes, against what is stored; a batch in memory at a time.

    Args:
        rows: image_id, text, image, a column for each score, and perhaps the picture_hash that the image must have.

    Returns:
        By score how far the furthest is off; what is wrong: a score off by more than its bound, or a picture that
        cannot be scored; and how many rows there were.
    """
    furthest = {score.column: 0.0 for score in recipe.scores}
    wrong: list[str] = []
    count = 0
    scorers: list[tuple[Score, Scorer]] = []
    rest = iter(rows)
    with ThreadPoolExecutor(recipe.threads) as pool:
        while some := list(itertools.islice(rest, max(score.batch_size for score in recipe.scores))):
            count += len(some)
            scorers = scorers or [(score, score.load(context(recipe))) for score in recipe.scores]
            usable = []
            for row, found in zip(some, pool.map(_looked_at, some), strict=True):
                if isinstance(found, str):
                    wrong.append(f"image {row['image_id']}: {found}")
                else:
                    usable.append((row, found))
            for score, scorer in scorers:
                for at in range(0, len(usable), score.batch_size):
                    for row, value in _again(scorer, usable[at : at + score.batch_size]):
                        if isinstance(value, str):
                            wrong.append(f"{score.column} of {row['image_id']}: {value}")
                            continue
                        apart = abs(value - row[score.column])
                        furthest[score.column] = max(furthest[score.column], apart)
                        if not apart <= score.bound:  # NaN is as far as can be
                            off = f"is {apart:.1e} off, {score.bound:.0e} allowed"
                            wrong.append(f"{score.column} of {row['image_id']} {off}")
    return furthest, wrong, count


def _again(
    scorer: Scorer, some: Sequence[tuple[dict[str, Any], Image.Image]]
) -> Iterator[tuple[dict[str, Any], float | str]]:
    """Rows with their score, or why a picture has none."""
    try:
        values = scorer([picture for _, picture in some], [row["text"] for row, _ in some]).tolist()
        yield from ((row, value) for (row, _), value in zip(some, values, strict=True))
    except Mendable:  # not a picture's fault
        raise
    except ValueError as error:
        if len(some) == 1:
            yield some[0][0], str(error)
            return
        for one in some:
            yield from _again(scorer, [one])


def _looked_at(row: dict[str, Any]) -> Image.Image | str:
    """A row's picture, or why there is none."""
    data = row["image"]["bytes"] if row["image"] else b""
    if row.get("picture_hash") not in (None, hashlib.sha256(data).hexdigest()):
        return "its bytes are not those that its path names"
    try:
        return decoding.decode(data)
    except decoding.UndecodableImage as error:
        return str(error)


def _pictures(images: Folder, shard: str, wanted: pa.Table) -> list[dict[str, Any]]:
    """The wanted rows of a shard with their pictures, in their order."""
    rows = images.read(shard, ["image_id", "image", "source"])
    rows = rows.filter(pc.is_in(rows["image_id"], value_set=wanted["image_id"].combine_chunks()))
    stored = {row["image_id"]: row for row in rows.to_pylist()}
    where = images.store.unstrip(f"{images.path}/{shard}")
    return [{**row, **stored[row["image_id"]], "shard": where} for row in wanted.to_pylist()]


def _scored(
    score: Score, scorer: Scorer, rows: list[dict[str, Any]], pool: Executor, tick: Callable[[int], None], done: int
) -> list[dict[str, Any]]:
    values = values_of(score, scorer, rows, pool)
    tick(done + len(rows))
    names = ("image_id", "picture_hash", "caption_id", "source")
    return [{**{n: row[n] for n in names}, "value": value} for row, value in zip(rows, values, strict=True)]


def _decoded(row: dict[str, Any]) -> Image.Image:
    data = row["image"]["bytes"]
    if hashlib.sha256(data).hexdigest() != row["picture_hash"]:
        raise UnusableImage(_unusable(row, "its bytes are not those that its path names"))
    try:
        return decoding.decode(data)
    except decoding.UndecodableImage as error:
        raise UnusableImage(_unusable(row, str(error))) from error


def _alone(scorer: Scorer, picture: Image.Image, row: dict[str, Any]) -> float:
    """The score of one picture of a batch in which some picture cannot be scored."""
    try:
        return float(scorer([picture], [row["text"]])[0])
    except Mendable:
        raise
    except ValueError as error:
        raise UnusableImage(_unusable(row, str(error))) from error


def _unusable(row: dict[str, Any], why: str) -> str:
    return (
        f"image {row['image_id']} in shard {row['shard']} cannot be scored: {why}. Delete the shard and materialize "
        "synthetic_images of this source again"
    )
