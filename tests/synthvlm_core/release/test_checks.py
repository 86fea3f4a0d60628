"""Each check holds on a sound release and fails on the one release made to break it, naming damage and remedy."""

import hashlib
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core import records, selection
from synthvlm_core.errors import NotMaterialized
from synthvlm_core.findings import Finding
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import checks, huggingface, stage
from synthvlm_core.store import Store

from .conftest import folder_of

Edit = Callable[[Recipe, dict[str, object]], Recipe]
Rows = list[dict[str, Any]]

CHECKS = {
    "whole": checks.set_is_whole,
    "floor": checks.no_pair_is_below_the_floor,
    "agree": checks.formats_agree,
}


def failures(store: Store, recipe: Recipe) -> dict[str, Finding]:
    """The checks that fail; each of them names the remedy."""
    found = {name: holds(store, recipe) for name, holds in CHECKS.items()}
    failed = {name: finding for name, finding in found.items() if not finding.passed}
    assert all("materialize synthvlm_100k again" in finding.summary for finding in failed.values())
    return failed


def replace(store: Store, recipe: Recipe, file: str, data: bytes) -> None:
    """Put another file in place of a released one, manifest and all, as a faulty stage would have written it."""
    folder = folder_of(store, recipe)
    (folder / file).write_bytes(data)
    manifest = stage.manifest(store, recipe)
    proof = {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    for entry in (manifest["llava"], *manifest["parquet"]):
        if entry["name"] == Path(file).name:
            entry.update(proof)
    store.put_json(str(folder / "manifest.json"), manifest)


def replace_rows(store: Store, recipe: Recipe, change: Callable[[Rows], Rows]) -> None:
    [path] = (folder_of(store, recipe) / "data").iterdir()
    rows = pa.Table.from_pylist(change(pq.read_table(path).to_pylist()), records.SYNTHVLM_100K.schema)
    replace(store, recipe, f"data/{path.name}", huggingface.encode(rows))


def replace_conversations(store: Store, recipe: Recipe, change: Callable[[Rows], Any]) -> None:
    entries = json.loads((folder_of(store, recipe) / "llava" / "synthvlm.json").read_bytes())
    replace(store, recipe, "llava/synthvlm.json", json.dumps(change(entries)).encode())


def edit(place: int, **values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **values} if number == place else row for number, row in enumerate(rows)]


def test_all_hold_on_a_sound_release(released: Store, recipe: Recipe) -> None:
    assert failures(released, recipe) == {}
    assert checks.set_is_whole(released, recipe).numbers == {"pairs": 4, "expected": 4, "doubled": 0}
    assert checks.no_pair_is_below_the_floor(released, recipe).numbers == {
        "below": 0,
        "wrong": 0,
        "failing_sources": 0,
    }
    assert checks.formats_agree(released, recipe).numbers == {"rows": 4, "conversations": 4, "wrong": 0}


def test_without_a_release_there_is_nothing_to_check(scored: Store, recipe: Recipe) -> None:
    for holds in CHECKS.values():
        with pytest.raises(NotMaterialized, match="materialize synthvlm_100k first"):
            holds(scored, recipe)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda rows: rows[:-1],
            {"whole": "3 of 4 pairs", "agree": "synthvlm.json has 1 conversations of no row"},
            id="a row is gone",
        ),
        pytest.param(
            lambda rows: [*rows, {**rows[0], "rank": 5}],
            {"whole": "5 of 4 pairs; 2 images or captions twice", "agree": "another conversation or none"},
            id="a row is there twice",
        ),
        pytest.param(
            lambda rows: edit(3, caption_id=rows[0]["caption_id"])(rows),
            {"whole": "1 images or captions twice", "agree": "content hash"},
            id="a caption is there twice",
        ),
        pytest.param(
            edit(3, rank=3), {"whole": "ranks have gaps", "agree": "content hash"}, id="a rank is there twice"
        ),
        pytest.param(
            edit(1, ssim=0.5),
            {"floor": "0 pairs below the floor, 1 with another weighted score", "agree": "content hash"},
            id="a score is edited",
        ),
        pytest.param(
            edit(1, weighted_score=math.nan),
            {"floor": "1 with another weighted score", "agree": "content hash"},
            id="a weighted score is no number",
        ),
        pytest.param(
            edit(1, clip_score=0.5, ssim=0.5, weighted_score=0.75),
            {"agree": "content hash"},
            id="scores are edited so that they fit together",
        ),
        pytest.param(
            edit(1, source="sbu"),
            {"floor": "failing sources: sbu is not in the recipe", "agree": "content hash"},
            id="a source is none of the recipe's",
        ),
        pytest.param(
            edit(2, text="a caption that nobody drew"),
            {"agree": "synthvlm.json has 1 conversations of no row"},
            id="a caption is edited",
        ),
        pytest.param(
            lambda rows: edit(0, image=rows[1]["image"])(rows),
            {"agree": "is another picture"},
            id="a picture is another one",
        ),
    ],
)
def test_other_rows(released: Store, recipe: Recipe, change: Callable[[Rows], Rows], said: dict[str, str]) -> None:
    replace_rows(released, recipe, change)
    failed = failures(released, recipe)
    assert failed.keys() == said.keys()
    assert all(words in failed[name].summary for name, words in said.items()), failed


def another_caption(entries: Rows) -> Rows:
    entries[1]["conversations"][1]["value"] = "a caption that nobody drew"
    return entries


def no_picture_named(entries: Rows) -> Rows:
    entries[1]["conversations"][0]["value"] = "Describe the picture."
    return entries


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(another_caption, "has another conversation or none", id="a caption is edited"),
        pytest.param(no_picture_named, "has another conversation or none", id="a human turn names no picture"),
        pytest.param(lambda entries: entries[1:], "has another conversation or none", id="an entry is gone"),
        pytest.param(lambda entries: [*entries, entries[0]], "has 1 conversations of no row", id="one is there twice"),
        pytest.param(lambda entries: [*entries, {}], "has 1 conversations of no row", id="an empty one is there"),
        pytest.param(lambda entries: None, "is no list of conversations", id="there is no list"),
    ],
)
def test_other_conversations(released: Store, recipe: Recipe, change: Callable[[Rows], Any], said: str) -> None:
    replace_conversations(released, recipe, change)
    failed = failures(released, recipe)
    assert failed.keys() == {"agree"}
    assert said in failed["agree"].summary


def test_a_cut_json_of_a_faulty_stage(released: Store, recipe: Recipe) -> None:
    replace(released, recipe, "llava/synthvlm.json", b'[{"id": ')
    failed = failures(released, recipe)
    assert failed.keys() == {"agree"}
    assert "llava/synthvlm.json is no list of conversations" in failed["agree"].summary


@pytest.mark.parametrize(
    ("file", "change", "failing"),
    [
        pytest.param("data/train-00000-of-00001.parquet", lambda data: data[:-10], set(CHECKS), id="Parquet cut"),
        pytest.param("data/train-00000-of-00001.parquet", lambda data: b"", set(CHECKS), id="Parquet empty"),
        pytest.param("data/train-00000-of-00001.parquet", None, set(CHECKS), id="Parquet gone"),
        pytest.param("llava/synthvlm.json", lambda data: data[:-10], {"agree"}, id="JSON cut"),
        pytest.param("llava/synthvlm.json", lambda data: data.replace(b"a", b"o", 1), {"agree"}, id="JSON edited"),
        pytest.param("llava/synthvlm.json", None, {"agree"}, id="JSON gone"),
    ],
)
def test_a_damaged_file_is_named(
    released: Store, recipe: Recipe, file: str, change: Callable[[bytes], bytes] | None, failing: set[str]
) -> None:
    path = folder_of(released, recipe) / file
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    failed = failures(released, recipe)
    assert failed.keys() == failing
    assert all(file in finding.summary for finding in failed.values())


def test_a_parquet_file_of_other_columns(released: Store, recipe: Recipe) -> None:
    [path] = (folder_of(released, recipe) / "data").iterdir()
    pq.write_table(pq.read_table(path).drop_columns("rank"), path)
    assert "not the columns of synthvlm_100k v1" in failures(released, recipe)["whole"].summary


def test_a_flipped_byte_of_a_picture_in_parquet(released: Store, recipe: Recipe) -> None:
    """Too deep in the file for a reader of narrow columns to meet it."""
    [path] = (folder_of(released, recipe) / "data").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    failed = failures(released, recipe)
    assert f"data/{path.name} has other bytes than were written" in failed["agree"].summary


def test_pictures_beside_the_json_that_changed_places(released: Store, recipe: Recipe) -> None:
    one, other, *_ = sorted((folder_of(released, recipe) / "llava" / "images").rglob("*.png"))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    failed = failures(released, recipe)
    assert failed.keys() == {"agree"}
    for path in (one, other):
        assert f"llava/images/{path.parent.name}/{path.name} is another picture" in failed["agree"].summary


def test_a_missing_picture_beside_the_json(released: Store, recipe: Recipe) -> None:
    path = next((folder_of(released, recipe) / "llava" / "images").rglob("*.png"))
    path.unlink()
    failed = failures(released, recipe)
    assert failed.keys() == {"agree"}
    assert f"{path.name} is missing" in failed["agree"].summary


def test_the_last_remedy_mends_what_publishing_again_cannot_see(released: Store, recipe: Recipe) -> None:
    """A picture replaced by one of as many bytes: only reading all pictures tells, which publishing does not."""
    path = next((folder_of(released, recipe) / "llava" / "images").rglob("*.png"))
    path.write_bytes(bytes(len(path.read_bytes())))
    stage.publish(released, recipe)
    failed = failures(released, recipe)
    folder = folder_of(released, recipe)
    assert f"delete file://{folder} before" in failed["agree"].summary
    shutil.rmtree(folder)
    stage.publish(released, recipe)
    assert failures(released, recipe) == {}


@pytest.mark.parametrize("score", ["clip_score", "ssim", "weighted_score"])
def test_a_floor_raised_after_the_release(released: Store, recipe: Recipe, edited: Edit, score: str) -> None:
    rows = [row for part in stage.rows(released, stage.manifest(released, recipe)) for row in part.to_pylist()]
    lowest = min(row[score] for row in rows)
    assert failures(released, edited(recipe, {f"selection.floor.{score}": lowest})) == {}
    failed = failures(released, edited(recipe, {f"selection.floor.{score}": math.nextafter(lowest, 9)}))
    assert failed.keys() == {"floor"}
    assert "1 pairs below the floor" in failed["floor"].summary


def test_thresholds_of_a_source_raised_after_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    means = {s.name: selection.verify_source(released, recipe, s.name).numbers["mean_ssim"] for s in recipe.sources}
    low, high = sorted(means, key=lambda name: means[name])
    strict = edited(recipe, {"selection.source_thresholds.mean_ssim": means[high]})
    failed = failures(released, strict)
    assert failed.keys() == {"floor"}
    assert f"failing sources: {low}: mean ssim {means[low]:.4f} is below" in failed["floor"].summary
    assert failed["floor"].numbers["failing_sources"] == 1


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param({"selection.size": 3}, {"whole"}, id="the size"),
        pytest.param({"selection.weight": 0.7}, {"floor"}, id="the weight"),
        pytest.param({"release.instructions": ["What is to be seen?"]}, {"agree"}, id="the instructions"),
    ],
)
def test_an_edited_recipe_asks_for_another_release(
    released: Store, recipe: Recipe, edited: Edit, change: dict[str, object], failing: set[str]
) -> None:
    other = edited(recipe, change)
    assert failures(released, other).keys() == failing
    stage.publish(released, other)
    assert failures(released, other) == {}
