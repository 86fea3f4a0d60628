"""Each check holds on a sound release and fails on the one release made to break it, naming damage and remedy."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core.errors import NotMaterialized
from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks
from synthvlm_core.release.formats import huggingface
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.selection import thresholds
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import proof

from .conftest import SET, Edit, folder_of, rows_of

Rows = list[dict[str, Any]]

CHECKS = {
    "whole": checks.set_is_whole,
    "floor": checks.no_pair_is_below_the_floor,
    "agree": checks.formats_agree,
}


@pytest.fixture(scope="module")
def three(released_shelf: Path, tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, edited: Edit) -> Path:
    """A store with the release in all three formats."""
    folder = tmp_path_factory.mktemp("three") / "store"
    shutil.copytree(released_shelf, folder)
    more = edited(recipe, {"release.formats": ["huggingface", "llava", "webdataset"]})
    Synthvlm100k(Store(str(folder)), more, SET).make()
    return folder


@pytest.fixture
def released(store: Store, three: Path) -> Store:
    shutil.copytree(three, store.root)
    return store


def failures(store: Store, recipe: Recipe) -> dict[str, Finding]:
    """The checks that fail; each of them names the remedy."""
    found = {name: holds(Synthvlm100k(store, recipe, SET)) for name, holds in CHECKS.items()}
    failed = {name: finding for name, finding in found.items() if not finding.passed}
    assert all("materialize synthvlm_100k again" in finding.summary for finding in failed.values())
    return failed


def replace(store: Store, recipe: Recipe, file: str, data: bytes) -> None:
    """Put another file in place of a released one, manifest and all, as a faulty stage would have written it."""
    folder = folder_of(store, recipe)
    (folder / file).write_bytes(data)
    manifest = json.loads((folder / "manifest.json").read_bytes())
    for entry in manifest["files"]:
        if entry["name"] == file:
            entry.update(proof(data))
    store.put_json(str(folder / "manifest.json"), manifest)


def replace_rows(store: Store, recipe: Recipe, change: Callable[[Rows], Rows]) -> None:
    table = Synthvlm100k(store, recipe, SET).table
    [path] = (folder_of(store, recipe) / "data").iterdir()
    rows = pa.Table.from_pylist(change(pq.read_table(path).to_pylist()), table.schema)
    replace(store, recipe, f"data/{path.name}", huggingface.encode(rows, table))


def replace_conversations(store: Store, recipe: Recipe, change: Callable[[Rows], Any]) -> None:
    entries = json.loads((folder_of(store, recipe) / "llava" / "synthvlm.json").read_bytes())
    replace(store, recipe, "llava/synthvlm.json", json.dumps(change(entries)).encode())


def edit(place: int, **values: Any) -> Callable[[Rows], Rows]:
    return lambda rows: [{**row, **values} if number == place else row for number, row in enumerate(rows)]


def test_all_hold_on_a_sound_release(released: Store, recipe: Recipe) -> None:
    assert failures(released, recipe) == {}
    stage = Synthvlm100k(released, recipe, SET)
    assert checks.set_is_whole(stage).numbers == {"pairs": 4, "expected": 4, "doubled": 0}
    assert checks.no_pair_is_below_the_floor(stage).numbers == {"below": 0, "wrong": 0, "failing_sources": 0}
    assert checks.formats_agree(stage).numbers == {"rows": 4, "formats": 3, "wrong": 0}


def test_without_a_release_there_is_nothing_to_check(scored: Store, recipe: Recipe) -> None:
    for holds in CHECKS.values():
        with pytest.raises(NotMaterialized, match="materialize synthvlm_100k first"):
            holds(Synthvlm100k(scored, recipe, SET))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda rows: rows[:-1],
            {"whole": "3 of 4 pairs", "agree": "is there more often than in the rows"},
            id="a row is gone",
        ),
        pytest.param(
            lambda rows: [*rows, {**rows[0], "rank": 5}],
            {"whole": "5 of 4 pairs; 2 images or captions twice", "agree": "is missing"},
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
            edit(2, text="a caption that nobody drew"), {"agree": "has other words"}, id="a caption is edited"
        ),
        pytest.param(edit(2, seed=7), {"agree": "has other words"}, id="what draws an image again is edited"),
        pytest.param(
            lambda rows: edit(0, image=rows[1]["image"])(rows),
            {"agree": "has another picture"},
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


def another_question(entries: Rows) -> Rows:
    entries[1]["conversations"][0]["value"] = "Who is that?\n<image>"
    return entries


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(another_caption, "has other words", id="a caption is edited"),
        pytest.param(another_question, "has other words", id="a human turn is edited"),
        pytest.param(lambda entries: entries[1:], "is a picture of no conversation", id="an entry is gone"),
        pytest.param(
            lambda entries: [*entries, entries[0]], "is there more often than in the rows", id="one is there twice"
        ),
        pytest.param(lambda entries: [*entries, {}], "no conversation about one picture", id="an empty one is there"),
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
    assert "llava/synthvlm.json is no JSON" in failed["agree"].summary


def test_another_picture_in_a_tar_shard_of_a_faulty_stage(released: Store, recipe: Recipe) -> None:
    file = "webdataset/train-00000-of-00001.tar"
    data = (folder_of(released, recipe) / file).read_bytes()
    first, second, *_ = (row["image"]["bytes"] for row in rows_of(released, recipe))
    changed = data.replace(first[40:60], second[40:60])
    assert changed != data
    replace(released, recipe, file, changed)
    failed = failures(released, recipe)
    assert failed.keys() == {"agree"}
    assert (
        f"webdataset/: image {rows_of(released, recipe)[0]['image_id']} has another picture" in failed["agree"].summary
    )


@pytest.mark.parametrize(
    ("file", "change", "failing"),
    [
        pytest.param("data/*.parquet", lambda data: data[:-10], set(CHECKS), id="Parquet cut"),
        pytest.param("data/*.parquet", lambda data: b"", set(CHECKS), id="Parquet empty"),
        pytest.param("data/*.parquet", None, set(CHECKS), id="Parquet gone"),
        pytest.param("llava/synthvlm.json", lambda data: data[:-10], {"agree"}, id="JSON cut"),
        pytest.param("llava/synthvlm.json", lambda data: data.replace(b"a", b"o", 1), {"agree"}, id="JSON edited"),
        pytest.param("llava/synthvlm.json", None, {"agree"}, id="JSON gone"),
        pytest.param("llava/images/*/*.png", None, {"agree"}, id="picture gone"),
        pytest.param("llava/images/*/*.png", lambda data: bytes(len(data)), {"agree"}, id="picture edited"),
        pytest.param("webdataset/*.tar", lambda data: data[:-10], {"agree"}, id="tar cut"),
        pytest.param("README.md", lambda data: data + b"\n", {"agree"}, id="card edited"),
        pytest.param("recipe.json", None, {"agree"}, id="recipe gone"),
    ],
)
def test_a_damaged_file_is_named(
    released: Store, recipe: Recipe, file: str, change: Callable[[bytes], bytes] | None, failing: set[str]
) -> None:
    path = next(folder_of(released, recipe).glob(file))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    failed = failures(released, recipe)
    assert failed.keys() == failing
    assert all(str(path) in finding.summary for finding in failed.values())


def test_a_parquet_file_of_other_columns(released: Store, recipe: Recipe) -> None:
    [path] = (folder_of(released, recipe) / "data").iterdir()
    buffer = pa.BufferOutputStream()
    pq.write_table(pq.read_table(path).drop_columns("rank"), buffer)
    replace(released, recipe, f"data/{path.name}", bytes(buffer.getvalue()))
    assert "is no synthvlm_100k with the scores of this recipe" in failures(released, recipe)["whole"].summary


@pytest.mark.parametrize("score", ["clip_score", "ssim", "weighted_score"])
def test_a_floor_raised_after_the_release(released: Store, recipe: Recipe, edited: Edit, score: str) -> None:
    lowest = min(row[score] for row in rows_of(released, recipe))
    assert failures(released, edited(recipe, {"selection.floor": {score: lowest}})) == {}
    failed = failures(released, edited(recipe, {"selection.floor": {score: math.nextafter(lowest, 9)}}))
    assert failed.keys() == {"floor"}
    assert "1 pairs below the floor" in failed["floor"].summary


def test_thresholds_of_a_source_raised_after_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    numbers = {s.name: thresholds.verify_source(ScoredPairs(released, recipe, s.name)).numbers for s in recipe.sources}
    means = {name: found["mean_ssim"] for name, found in numbers.items()}
    low, high = sorted(means, key=lambda name: means[name])
    strict = edited(recipe, {"selection.source_thresholds": {"mean": {"ssim": means[high]}}})
    failed = failures(released, strict)
    assert failed.keys() == {"floor"}
    assert f"failing sources: {low}: mean ssim {means[low]:.4f} is below" in failed["floor"].summary
    assert failed["floor"].numbers["failing_sources"] == 1


@pytest.mark.parametrize(
    ("change", "failing"),
    [
        pytest.param({"selection.size": 3}, {"whole"}, id="the size"),
        pytest.param({"selection.weights": {"clip_score": 1.0, "ssim": 0.7}}, {"floor"}, id="the weight"),
        pytest.param({"release.instructions": ["What is to be seen?"]}, {"agree"}, id="the instructions"),
    ],
)
def test_an_edited_recipe_asks_for_another_release(
    released: Store, recipe: Recipe, edited: Edit, change: dict[str, object], failing: set[str]
) -> None:
    other = edited(recipe, change)
    assert failures(released, other).keys() == failing
    Synthvlm100k(released, other, SET).make()
    assert failures(released, other) == {}


def test_a_format_of_a_later_version_of_this_software_says_so(released: Store, recipe: Recipe) -> None:
    stage = Synthvlm100k(released, recipe, SET)
    formats = {**stage.manifest["formats"], "croissant": {"version": 1, "section": {"format": "croissant"}}}
    released.put_json(stage.manifest_path, {**stage.manifest, "formats": formats})
    with pytest.raises(ValueError, match="format 'croissant', which this software does not know: update synthvlm"):
        checks.formats_agree(Synthvlm100k(released, recipe, SET))
