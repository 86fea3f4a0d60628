"""Scoring a table of wanted pictures: batches over shards, and errors that name the one picture at fault."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from PIL import Image
from tiny_clip import picture

from synthvlm_core.errors import RecipeError
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import scoring
from synthvlm_core.scoring.scoring import UnusableImage
from synthvlm_core.stages import context
from synthvlm_core.store import records, sql
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import Folder

from .conftest import IMAGES, SOURCE, Brightness, Edit, brightness

SECTION = Brightness(score="brightness")


@pytest.fixture
def pool() -> Iterator[Executor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def row(number: int, image: Image.Image | None = None) -> dict[str, Any]:
    buffer = io.BytesIO()
    (image or picture(number)).save(buffer, "PNG")
    return {
        "image_id": f"{number:032x}",
        "text": f"caption {number}",
        "image": {"bytes": buffer.getvalue(), "path": "somewhere.png"},
        "picture_hash": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "shard": "s3://bucket/shard.parquet",
    }


def fastidious(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
    """Brightness, of pictures that are no more than 60 pixels wide."""
    if any(image.width > 60 for image in images):
        raise ValueError("too wide")
    return brightness(images, captions)


def test_values_in_the_order_of_rows(pool: Executor) -> None:
    rows = [row(number) for number in range(5)]
    found = scoring.values_of(SECTION, brightness, rows, pool)
    assert found == [np.asarray(picture(number)).mean() / 255 for number in range(5)]


def test_one_picture_of_a_batch_is_blamed(pool: Executor) -> None:
    rows = [row(0), row(1, picture(1, 64, 48)), row(2)]
    with pytest.raises(UnusableImage) as raised:
        scoring.values_of(SECTION, fastidious, rows, pool)
    assert str(raised.value).startswith(f"image {1:032x} in shard s3://bucket/shard.parquet cannot be scored: too wide")
    assert "Delete the shard and materialize synthetic_images of this source again" in str(raised.value)


def test_what_a_person_must_mend_is_not_blamed_on_a_picture(pool: Executor) -> None:
    """Though it is a ValueError as well."""
    asked: list[int] = []

    def away(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        asked.append(len(images))
        raise RecipeError("scores.clip_score.model: the weights are gone")

    with pytest.raises(RecipeError, match="the weights are gone"):
        scoring.values_of(SECTION, away, [row(0), row(1)], pool)
    assert asked == [2]

    def away_alone(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        if len(images) > 1:
            raise ValueError("one of these")
        raise RecipeError("scores.clip_score.model: the weights are gone")

    with pytest.raises(RecipeError, match="the weights are gone"):
        scoring.values_of(SECTION, away_alone, [row(0), row(1)], pool)


def test_a_fault_of_the_program_stays_one(pool: Executor) -> None:
    def buggy(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        scoring.values_of(SECTION, buggy, [row(0)], pool)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_refused(pool: Executor, value: float) -> None:
    def third(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
        return np.array([0.5, 0.5, value])

    with pytest.raises(UnusableImage, match=rf"image {2:032x} .* its brightness is {value}"):
        scoring.values_of(SECTION, third, [row(0), row(1), row(2)], pool)


def test_bytes_of_another_picture_are_refused(pool: Executor) -> None:
    swapped = {**row(0), "image": row(1)["image"]}
    with pytest.raises(UnusableImage, match=rf"image {0:032x} .* its bytes are not those that its path names"):
        scoring.values_of(SECTION, brightness, [swapped], pool)


def wanted_of(store: Store, recipe: Recipe) -> tuple[pa.Table, Folder]:
    """All images that count, as a worker gets them, and where they lie."""
    stage = SyntheticImages(store, recipe, SOURCE)
    with sql.scratch() as scratch:
        state = stage.state(scratch)
        [rows] = scratch.tables(
            f"""
            select shard, image_id, picture_hash, caption_id, text
            from {state.counting} join {state.captions} using (caption_id)
            order by shard, image_id
            """
        )
    return rows, stage.folder


@pytest.mark.parametrize("batch_size", [1, 3, 8, 64])
def test_batches_over_shards_change_no_value(drawn: Store, recipe: Recipe, edited: Edit, batch_size: int) -> None:
    _, score = edited(recipe, {"scores.brightness.batch_size": batch_size}).scores
    wanted, folder = wanted_of(drawn, recipe)
    assert len(set(wanted["shard"].to_pylist())) == 2
    told: list[int] = []
    found = scoring.load(score, context(recipe), folder)(wanted, told.append)
    assert found.schema.equals(records.SCORES.schema)
    assert found["image_id"].to_pylist() == sorted(wanted["image_id"].to_pylist())
    assert told == [*range(batch_size, IMAGES, batch_size), IMAGES]
    stored = {
        image["image_id"]: image["image"]["bytes"]
        for shard in dict.fromkeys(wanted["shard"].to_pylist())
        for image in folder.read(shard).to_pylist()
    }
    for image_id, value in zip(found["image_id"].to_pylist(), found["value"].to_pylist(), strict=True):
        assert value == np.asarray(Image.open(io.BytesIO(stored[image_id]))).mean() / 255


def test_only_the_wanted_pictures_are_scored(drawn: Store, recipe: Recipe) -> None:
    wanted, folder = wanted_of(drawn, recipe)
    some = wanted.take([0, 3, 6])
    found = scoring.load(recipe.scores[1], context(recipe), folder)(some, lambda count: None)
    assert sorted(found["image_id"].to_pylist()) == sorted(some["image_id"].to_pylist())
