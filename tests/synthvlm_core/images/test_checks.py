"""Each check holds on a sound store and fails on the one store made to break it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from harness import Painter

from synthvlm_core.findings import Finding
from synthvlm_core.images import checks, encoding
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.generator import Encoding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import sql
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
Change = Callable[[list[dict[str, Any]]], None]
SOURCE = "laion"
ALL = (
    checks.images_add_up,
    checks.images_decode,
    checks.unhealthy_share_is_within_limit,
    checks.ids_and_seeds_are_sound,
    checks.shards_are_undamaged,
)


def images(store: Store, recipe: Recipe) -> SyntheticImages:
    return SyntheticImages(store, recipe, SOURCE)


@pytest.fixture
def drawn(filtered: Store, painting: Recipe) -> Store:
    images(filtered, painting).make(shard_rows=4)
    return filtered


def rewrite(store: Store, recipe: Recipe, change: Change, *, declare: bool = False) -> None:
    """Put other rows in place of the first shard, manifest and all, as a faulty stage would have.

    Args:
        declare: let the manifest's content hash and counts follow, as if the stage had meant it.
    """
    stage = images(store, recipe)
    folder, manifest = stage.folder, stage.manifest
    old = manifest["shards"][0]["name"]
    rows = folder.read(old).to_pylist()
    change(rows)
    Path(folder.path, old).unlink()
    manifest["shards"][0]["name"] = folder.put(pa.Table.from_pylist(rows, folder.table.schema)).name
    if declare:
        with sql.scratch() as scratch:
            manifest.update(stage.state(scratch).counts())
    store.put_json(stage.manifest_path, manifest)


def repaint(row: dict[str, Any], pixels: np.ndarray) -> None:
    data = encoding.encode(pixels, Encoding(format="png"))
    row["image"] = {"bytes": data, "path": encoding.file_name(data, "png")}


def failing(store: Store, recipe: Recipe) -> dict[str, Finding]:
    found = {check.__name__: check(images(store, recipe)) for check in ALL}
    return {name: finding for name, finding in found.items() if not finding.passed}


def test_all_hold_on_a_sound_store(drawn: Store, painting: Recipe) -> None:
    assert failing(drawn, painting) == {}
    assert checks.images_decode(images(drawn, painting)).numbers == {
        "images": 8,
        "decoded": 8,
        "power": 1.0,
        "wrong": 0,
    }


def test_a_sample_says_its_power_and_grows_to_all(
    drawn: Store, painting: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "LEAST_LOOKED_AT", 2)
    finding = checks.images_decode(images(drawn, painting))
    assert finding.numbers["decoded"] == 2
    assert "2 of 8 of them, which meets damage of 1% of them with a probability of 25.0%" in finding.summary
    closely = checks.images_decode(images(drawn, edited(painting, {"checks.share": 1.0})))
    assert closely.numbers["decoded"] == 8


def test_all_hold_where_an_image_was_given_up(
    filtered: Store, painting: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    lenient = edited(painting, {"generator.health.max_unhealthy_share": 0.3})
    strict = edited(painting, {"generator.health.max_unhealthy_share": float(np.nextafter(0.3, 0.0))})
    first: list[str] = []

    def unlucky(painter: Painter, request: Any) -> str:
        first.append(request.caption_id)
        return "nan" if request.caption_id == first[0] and request.k == 0 else "ok"

    monkeypatch.setattr(Painter, "fate", unlucky)
    images(filtered, lenient).make()
    assert failing(filtered, lenient) == {}, "the limit itself is allowed"
    assert checks.images_add_up(images(filtered, lenient)).numbers["given_up"] == 1
    assert set(failing(filtered, strict)) == {"unhealthy_share_is_within_limit"}
    assert checks.unhealthy_share_is_within_limit(images(filtered, strict)).numbers["share"] == 3 / 10


def test_a_refused_caption_is_given_up_at_once_and_counts_as_unhealthy(
    filtered: Store, painting: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def prudish(painter: Painter, request: Any) -> str:
        refused.append(request.caption_id)
        return "refused" if request.caption_id == refused[0] else "ok"

    monkeypatch.setattr(Painter, "fate", prudish)
    manifest = images(filtered, painting).make()
    assert (manifest["healthy"], manifest["given_up"], manifest["refused"], manifest["attempts"]) == (6, 2, 2, 8)
    assert checks.images_add_up(images(filtered, painting)).passed
    assert set(failing(filtered, painting)) == {"unhealthy_share_is_within_limit"}


def test_a_picture_that_is_gone_without_a_refusal(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, lambda rows: rows[0].update(image=None))
    assert set(failing(drawn, painting)) == {"images_decode", "shards_are_undamaged"}


def test_a_lost_image(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, lambda rows: rows.pop(1))
    assert set(failing(drawn, painting)) >= {"images_add_up", "shards_are_undamaged"}
    assert checks.images_add_up(images(drawn, painting)).numbers["lost"] == 1


def test_a_lost_image_that_the_manifest_hushes_up(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, lambda rows: rows.pop(1), declare=True)
    assert set(failing(drawn, painting)) == {"images_add_up"}


def test_a_black_image(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, lambda rows: repaint(rows[2], np.zeros((64, 64, 3), np.uint8)), declare=True)
    found = failing(drawn, painting)
    assert set(found) == {"images_decode"}
    assert "is flat" in found["images_decode"].summary


def test_an_image_of_another_size(drawn: Store, painting: Recipe) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (32, 64, 3), dtype=np.uint8)
    rewrite(drawn, painting, lambda rows: repaint(rows[2], noise), declare=True)
    assert "64 x 32" in failing(drawn, painting)["images_decode"].summary


def test_a_size_column_that_lies(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, lambda rows: rows[0].update(width=1), declare=True)
    assert set(failing(drawn, painting)) == {"images_decode"}


def test_bytes_that_are_no_picture(drawn: Store, painting: Recipe) -> None:
    bad = {"bytes": b"no picture", "path": encoding.file_name(b"no picture", "png")}
    rewrite(drawn, painting, lambda rows: rows[0].update(image=bad), declare=True)
    assert "does not decode" in failing(drawn, painting)["images_decode"].summary


def swap(rows: list[dict[str, Any]]) -> None:
    rows[0]["image"], rows[2]["image"] = rows[2]["image"], rows[0]["image"]


def test_a_swapped_pair(drawn: Store, painting: Recipe) -> None:
    rewrite(drawn, painting, swap)
    assert set(failing(drawn, painting)) == {"shards_are_undamaged"}


def test_swapped_captions(drawn: Store, painting: Recipe) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["text"], rows[2]["text"] = rows[2]["text"], rows[0]["text"]

    rewrite(drawn, painting, change)
    assert failing(drawn, painting)["ids_and_seeds_are_sound"].numbers["wrong"] == 2


@pytest.mark.parametrize(("column", "value"), [("seed", 7), ("source", "cc"), ("attempt", 1), ("image_id", "f" * 32)])
def test_a_wrong_seed_or_id(drawn: Store, painting: Recipe, column: str, value: object) -> None:
    rewrite(drawn, painting, lambda rows: rows[0].update({column: value}), declare=True)
    assert set(failing(drawn, painting)) == {"ids_and_seeds_are_sound"}


def test_a_picture_under_another_path(drawn: Store, painting: Recipe) -> None:
    def change(rows: list[dict[str, Any]]) -> None:
        rows[0]["image"] = {**rows[0]["image"], "bytes": rows[1]["image"]["bytes"]}

    rewrite(drawn, painting, change, declare=True)
    assert set(failing(drawn, painting)) == {"shards_are_undamaged"}


def test_a_truncated_shard(drawn: Store, painting: Recipe) -> None:
    folder = images(drawn, painting).folder
    path = Path(folder.path, folder.names()[0])
    path.write_bytes(path.read_bytes()[:-10])
    finding = checks.shards_are_undamaged(images(drawn, painting))
    assert not finding.passed
    assert path.name in finding.summary


def follow(words: str, stage: SyntheticImages) -> None:
    """Do what a check says: delete the files that it names, then materialize."""
    asked = re.search(r"delete (.+?) and materialize synthetic_images of 'laion' again", words)
    assert asked, words
    for name in asked[1].split(", "):
        Path(name.removeprefix("file://")).unlink()
    stage.make(shard_rows=4)


def recolour(rows: list[dict[str, Any]]) -> None:
    repaint(rows[2], np.zeros((64, 64, 3), np.uint8))


def reseed(rows: list[dict[str, Any]]) -> None:
    rows[0]["seed"] = 7


def exchange(rows: list[dict[str, Any]]) -> None:
    rows[0]["image"] = {**rows[0]["image"], "bytes": rows[1]["image"]["bytes"]}


@pytest.mark.parametrize(
    ("check", "change"),
    [
        (checks.images_decode, recolour),
        (checks.ids_and_seeds_are_sound, reseed),
        (checks.shards_are_undamaged, exchange),
    ],
)
def test_what_a_check_says_to_do_mends_it(
    drawn: Store, painting: Recipe, check: Callable[[SyntheticImages], Finding], change: Change
) -> None:
    content = images(drawn, painting).manifest["content_hash"]
    rewrite(drawn, painting, change, declare=True)
    follow(check(images(drawn, painting)).summary, images(drawn, painting))
    assert failing(drawn, painting) == {}
    assert images(drawn, painting).manifest["content_hash"] == content, "drawn again, the pictures are the same"


@pytest.mark.parametrize("declare", [False, True])
def test_materializing_again_finds_a_lost_image(drawn: Store, painting: Recipe, declare: bool) -> None:
    rewrite(drawn, painting, lambda rows: rows.pop(1), declare=declare)
    assert "materialize synthetic_images of 'laion' again" in failing(drawn, painting)["images_add_up"].summary
    images(drawn, painting).make(shard_rows=4)
    assert failing(drawn, painting) == {}
