"""The stage: each image that counts is scored once, from its stored bytes, whatever was interrupted before."""

import contextlib
import hashlib
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from harness import Killed, Mortal
from PIL import Image

from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.models import clip
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import RESERVED, WEIGHTED
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import checks, examples
from synthvlm_core.scoring.scored import ContradictoryScores, ScoredPairs, definitions, spec
from synthvlm_core.scoring.scorers.ssim import Ssim
from synthvlm_core.scoring.scoring import UnusableImage
from synthvlm_core.stages import context
from synthvlm_core.store import records, shards, sql
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import DamagedShard, Folder

from .conftest import BRIGHTNESS, CAPTIONS, IMAGES, SOURCE, SSIM, Brightness, Edit, pairs, rows_of

Row = dict[str, Any]


def images(store: Store, recipe: Recipe) -> SyntheticImages:
    return SyntheticImages(store, recipe, SOURCE)


def pictures(store: Store, recipe: Recipe) -> list[Row]:
    """The images that count, in the order of ids."""
    rows = [row for part in images(store, recipe).counting_images() for row in part.to_pylist()]
    return sorted(rows, key=lambda row: str(row["image_id"]))


def scores_folder(store: Store, recipe: Recipe, score: str) -> Folder:
    [section] = [section for section in recipe.scores if section.column == score]
    return pairs(store, recipe).score_folder(section)


def put_pictures(store: Store, recipe: Recipe, change: Callable[[list[Row]], None], *, declare: bool = False) -> str:
    """Put other rows in place of the first shard of images, manifest and all; returns the new shard's name.

    Args:
        declare: let the manifest's content hash and counts follow, as where the pictures were drawn again.
    """
    stage = images(store, recipe)
    folder, manifest = stage.folder, stage.manifest
    old = manifest["shards"][0]["name"]
    rows = folder.read(old).to_pylist()
    change(rows)
    Path(folder.path, old).unlink()
    new: str = folder.put(pa.Table.from_pylist(rows, folder.table.schema)).name
    manifest["shards"][0]["name"] = new
    if declare:
        with sql.scratch() as scratch:
            manifest.update(stage.state(scratch).counts())
    store.put_json(stage.manifest_path, manifest)
    return new


def stored_picture(data: bytes) -> dict[str, object]:
    return {"bytes": data, "path": f"{hashlib.sha256(data).hexdigest()}.png"}


def png(picture: Image.Image, **options: Any) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", **options)
    return buffer.getvalue()


def opened(row: Row) -> Image.Image:
    return Image.open(io.BytesIO(row["image"]["bytes"]))


def never(*_: object) -> Any:
    raise AssertionError("loaded")


def equals_the_scorers(store: Store, recipe: Recipe) -> None:
    """Every stored pair has the values that the scores give for the stored bytes, bit for bit."""
    found, wanted = rows_of(store, recipe), pictures(store, recipe)
    assert len(found) == len(wanted) == IMAGES
    for column in ("image_id", "caption_id", "source", "k"):
        assert [row[column] for row in found] == [row[column] for row in wanted]
    assert [f"{row['picture_hash']}.png" for row in found] == [row["image"]["path"] for row in wanted]
    for score in recipe.scores:
        scorer = score.load(context(recipe))
        values = scorer([opened(row) for row in wanted], [row["text"] for row in wanted])
        assert [row[score.column] for row in found] == values.tolist()
        assert len(set(values.tolist())) == IMAGES, "pictures that all score alike would show nothing"


def test_importing_the_stage_loads_no_torch() -> None:
    code = "import sys, synthvlm_core.scoring.scored, synthvlm_core.scoring.checks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_image_gets_the_scores_of_its_stored_bytes(drawn: Store, recipe: Recipe) -> None:
    told: list[tuple[str, int, int]] = []
    manifest = pairs(drawn, recipe).make(lambda what, done, total: told.append((what, done, total)))
    equals_the_scorers(drawn, recipe)
    assert (manifest["pairs"], manifest["scored"]) == (IMAGES, 2 * IMAGES)
    assert manifest["scored_by_score"] == {"ssim": IMAGES, "brightness": IMAGES}
    steps = [("ssim", done, 8) for done in (0, 3, 6, 8)] + [("brightness", done, 8) for done in (0, 3, 6, 8)]
    assert list(dict.fromkeys(told)) == steps


@pytest.mark.model
def test_the_papers_scores_of_the_stored_bytes(drawn: Store, clip_recipe: Recipe) -> None:
    pairs(drawn, clip_recipe).make(shard_rows=4)
    found, wanted = rows_of(drawn, clip_recipe), pictures(drawn, clip_recipe)
    clip_score, ssim = (score.load(context(clip_recipe)) for score in clip_recipe.scores)
    inputs = [opened(row) for row in wanted], [row["text"] for row in wanted]
    assert [row["clip_score"] for row in found] == clip_score(*inputs).tolist()
    assert [row["ssim"] for row in found] == ssim(*inputs).tolist()
    assert max(row["clip_score"] for row in found) > 0.01


def test_a_bucket_holds_the_same(any_store: Store, recipe: Recipe, shelf: Path, drawn: Store) -> None:
    if any_store.root != drawn.root:
        any_store.fs.put(str(shelf) + "/", any_store.root + "/", recursive=True)
    pairs(any_store, recipe).make(shard_rows=3)
    equals_the_scorers(any_store, recipe)


def test_the_manifest_and_the_statistics(drawn: Store, recipe: Recipe) -> None:
    pairs(drawn, recipe).make()
    stage, rows = pairs(drawn, recipe), rows_of(drawn, recipe)
    manifest = stage.manifest
    assert manifest["inputs"] == {"images": images(drawn, recipe).manifest["content_hash"]}
    assert manifest["image_definition"] == images(drawn, recipe).definition
    assert manifest["definitions"] == definitions(recipe)
    assert manifest["spec"] == stage.spec == spec(recipe)
    assert "weight" not in json.dumps(manifest), "scores do not depend on the selection's weights"
    ssim, brightness = (np.array([row[name] for row in rows]) for name in ("ssim", "brightness"))
    assert list(stage.statistics) == ["ssim", "brightness", "weighted_score"]
    for name, values in (("ssim", ssim), ("brightness", brightness), ("weighted_score", brightness + 0.5 * ssim)):
        found = stage.statistics[name]
        assert found["mean"] == pytest.approx(values.mean(), abs=1e-15)
        assert (found["minimum"], found["maximum"]) == (values.min(), values.max())
        assert found["quantiles"]["0.5"] == np.sort(values)[3]
        assert sum(found["histogram"]["counts"]) == IMAGES


def test_nothing_is_scored_twice(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    first = pairs(drawn, recipe).make()
    assert Brightness.loads == 1
    again = pairs(drawn, recipe).make()
    assert again == {**first, "scored": 0, "scored_by_score": {"ssim": 0, "brightness": 0}}
    heavier = edited(recipe, {"selection.weights": {"brightness": 2.0}})
    assert pairs(drawn, heavier).make()["content_hash"] == first["content_hash"]
    means = [pairs(drawn, found).statistics["weighted_score"]["mean"] for found in (recipe, heavier)]
    assert means[0] != means[1]

    fewer = edited(recipe, {"generator.images_per_caption": 1})
    images(drawn, fewer).make()
    found = pairs(drawn, fewer).make()
    assert (found["pairs"], found["scored"], Brightness.loads) == (CAPTIONS, 0, 1)
    more = edited(recipe, {"generator.images_per_caption": 3})
    images(drawn, more).make()
    found = pairs(drawn, more).make()
    assert found["pairs"] == 3 * CAPTIONS
    assert found["scored_by_score"] == {"ssim": CAPTIONS, "brightness": CAPTIONS}
    assert Brightness.loads == 2
    assert pairs(drawn, recipe).manifest["content_hash"] == first["content_hash"]


def test_another_window_of_ssim_computes_ssim_alone(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    pairs(drawn, recipe).make()
    before = rows_of(drawn, recipe)
    wider = edited(recipe, {"scores.ssim.window": 9})
    assert pairs(drawn, wider).make()["scored_by_score"] == {"ssim": IMAGES, "brightness": 0}
    assert Brightness.loads == 1, "a score that has all its values is not even loaded"
    after = rows_of(drawn, wider)
    assert [row["brightness"] for row in after] == [row["brightness"] for row in before]
    assert all(new["ssim"] != old["ssim"] for new, old in zip(after, before, strict=True))
    assert pairs(drawn, recipe).make()["scored"] == 0, "the way back is paid already"


@pytest.mark.model
def test_another_window_of_ssim_loads_no_clip(
    drawn: Store, clip_recipe: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs(drawn, clip_recipe).make()
    monkeypatch.setattr(clip, "load", never)
    found = pairs(drawn, edited(clip_recipe, {"scores.ssim.window": 9})).make()
    assert found["scored_by_score"] == {"clip_score": 0, "ssim": IMAGES}
    monkeypatch.undo()
    monkeypatch.setattr(Ssim, "load", never)
    found = pairs(drawn, edited(clip_recipe, {"scores.clip_score.prefix": "A photo depicts "})).make()
    assert found["scored_by_score"] == {"clip_score": IMAGES, "ssim": 0}


def test_a_third_score_computes_itself_alone(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    pairs(drawn, recipe).make()
    third = edited(recipe, {"scores": [SSIM, BRIGHTNESS, {"score": "colourfulness"}]})
    assert pairs(drawn, third).make()["scored_by_score"] == {"ssim": 0, "brightness": 0, "colourfulness": IMAGES}
    equals_the_scorers(drawn, third)
    assert pairs(drawn, third).spec != pairs(drawn, recipe).spec, "two sets of scores are not compared"


def test_a_score_left_out_computes_nothing(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    pairs(drawn, recipe).make()
    alone = edited(recipe, {"scores.brightness": None, "selection.weights": {"ssim": 1.0}})
    assert pairs(drawn, alone).make()["scored"] == 0
    assert "brightness" not in rows_of(drawn, alone)[0]


def test_two_scores_of_one_kind(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    halved = {**SSIM, "name": "ssim-16", "shrink_to": 16}
    both = edited(recipe, {"scores": [SSIM, halved], "selection.weights": {"ssim": 1.0, "ssim_16": 1.0}})
    pairs(drawn, both).make()
    equals_the_scorers(drawn, both)
    assert all(row["ssim_16"] < row["ssim"] for row in rows_of(drawn, both))
    # a name is only a name: what it stands for is computed already
    renamed = edited(recipe, {"scores": [{**halved, "name": "fidelity"}], "selection.weights": {"fidelity": 1.0}})
    assert pairs(drawn, renamed).make()["scored"] == 0
    assert [row["fidelity"] for row in rows_of(drawn, renamed)] == [row["ssim_16"] for row in rows_of(drawn, both)]
    twice = edited(recipe, {"scores": [SSIM, {**SSIM, "name": "again"}], "selection.weights": {"ssim": 1.0}})
    assert pairs(drawn, twice).make()["scored"] == 0
    assert all(row["ssim"] == row["again"] for row in rows_of(drawn, twice))


def used_names() -> list[str]:
    """Names that queries and tables of this package use and that a score may have all the same."""
    tables = (records.SYNTHETIC_IMAGES, records.SCORES, records.FILTERED_CAPTIONS, records.RAW_CAPTIONS)
    words = {column for table in tables for column in table.names}
    words |= {"near", "scored", "captions", "pairs", "best", "taken", "bin", "part", "found", "stored", "relevant"}
    words |= {"next", "done", "rows", "lot", "caption", "score", "scores", "numbers", "verdict", "passing", "ordered"}
    return sorted(word for word in words - RESERVED - {WEIGHTED} if sql.is_column(word))


def test_a_score_may_have_any_name_that_is_not_refused(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    names = used_names()
    scores = [{**SSIM, "name": name.replace("_", "-")} for name in names]
    crowded = edited(
        recipe,
        {
            "scores": scores,
            "selection.weights": dict.fromkeys(names, 1.0),
            "selection.floor": dict.fromkeys(names, 0.5),
            "selection.source_thresholds.mean": dict.fromkeys(names, 0.1),
        },
    )
    pairs(drawn, crowded).make()
    stage = pairs(drawn, crowded)
    assert list(stage.statistics) == [*names, "weighted_score"]
    assert checks.every_image_has_one_score(stage).passed
    assert checks.scores_agree_with_stored_images(stage).passed
    assert list(examples.examples(stage)[0]["scores"]) == names


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_kill_at_every_write_ends_like_an_uninterrupted_run(
    drawn: Store, recipe: Recipe, tmp_path: Path, after: bool
) -> None:
    clean_store = Store(str(tmp_path / "clean"))
    shutil.copytree(drawn.root, clean_store.root)
    clean = pairs(clean_store, recipe).make()
    writes = 0
    while True:
        broken = tmp_path / f"killed-{writes}"
        shutil.copytree(drawn.root, broken)
        mortal = Mortal(str(broken), writes, after=after)
        with contextlib.suppress(Killed):
            pairs(mortal, recipe).make(shard_rows=3)
            break
        survivor = Store(str(broken))
        scored = [len(scores_folder(survivor, recipe, score).names()) for score in ("ssim", "brightness")]
        if pairs(survivor, recipe).find() is None:
            with pytest.raises(NotMaterialized, match="materialize scored_pairs"):
                list(pairs(survivor, recipe).pairs())
        resumed = pairs(survivor, recipe).make(shard_rows=5)
        # shards of three, three and two pictures: what was written is not computed again
        left = sum(max(0, IMAGES - 3 * count) for count in scored)
        assert resumed["scored"] == left
        assert resumed["content_hash"] == clean["content_hash"]
        assert rows_of(survivor, recipe) == rows_of(clean_store, recipe)
        writes += 1
    assert writes == 3 + 3 + 3 + 2, "three shards of each score and of the pairs, the manifest, where it lies"


def test_damaged_shards_are_scored_again(drawn: Store, recipe: Recipe) -> None:
    first = pairs(drawn, recipe).make(shard_rows=3)
    for folder in (scores_folder(drawn, recipe, "ssim"), pairs(drawn, recipe).folder):
        path = Path(folder.path, folder.names()[0])
        path.write_bytes(path.read_bytes()[:-5])
    again = pairs(drawn, recipe).make(shard_rows=3)
    assert 0 < again["scored_by_score"]["ssim"] <= 3
    assert again["scored_by_score"]["brightness"] == 0
    assert again["content_hash"] == first["content_hash"]


def test_a_damaged_shard_of_images_is_named(drawn: Store, recipe: Recipe) -> None:
    folder = images(drawn, recipe).folder
    path = Path(folder.path, folder.names()[0])
    path.write_bytes(path.read_bytes()[:40] + b"x" + path.read_bytes()[41:])
    with pytest.raises(DamagedShard, match=rf"{path.name} .*materialize synthetic_images again"):
        pairs(drawn, recipe).make()


def test_two_writers_with_other_last_bits_end_right(drawn: Store, recipe: Recipe) -> None:
    pairs(drawn, recipe).make()
    folder = scores_folder(drawn, recipe, "ssim")
    [rows] = folder.tables(folder.names())
    place = rows.schema.get_field_index("value")
    for shift in (-1e-7, -1e-3):
        shifted = pa.array([value + shift for value in rows["value"].to_pylist()])
        folder.put(rows.set_column(place, rows.schema.field(place), shifted))
        Path(pairs(drawn, recipe).manifest_path).unlink()
        if shift == -1e-7:
            assert pairs(drawn, recipe).make()["scored"] == 0
            assert [row["ssim"] for row in rows_of(drawn, recipe)] == shifted.to_pylist(), "the lower values"
        else:
            with pytest.raises(ContradictoryScores) as raised:
                pairs(drawn, recipe).make()
    message = str(raised.value)
    assert message.startswith(f"ssim of image {rows['image_id'][0].as_py()} has values 1.0e-03 apart, 1e-05 allowed")
    assert f"{folder.path}; delete that folder and materialize scored_pairs again" in message


def test_a_picture_drawn_again_keeps_no_old_score(drawn: Store, recipe: Recipe) -> None:
    """The same image id, another picture hash: as after a damaged shard that another processor drew again."""
    first = pairs(drawn, recipe).make()
    changed: list[Row] = []

    def redraw(rows: list[Row]) -> None:
        changed.append(dict(rows[1]))
        rows[1]["image"] = stored_picture(png(opened(rows[1]).rotate(180).point(lambda value: value // 2)))
        changed.append(dict(rows[1]))

    put_pictures(drawn, recipe, redraw, declare=True)
    with pytest.raises(NotMaterialized, match="materialize scored_pairs"):
        rows_of(drawn, recipe)
    second = pairs(drawn, recipe).make()
    assert second["scored_by_score"] == {"ssim": 1, "brightness": 1}
    assert second["content_hash"] != first["content_hash"]
    equals_the_scorers(drawn, recipe)
    old, new = changed
    [row] = [row for row in rows_of(drawn, recipe) if row["image_id"] == new["image_id"]]
    assert row["picture_hash"] == hashlib.sha256(new["image"]["bytes"]).hexdigest()

    put_pictures(drawn, recipe, lambda rows: rows[1].update(image=old["image"]), declare=True)
    third = pairs(drawn, recipe).make()
    assert (third["scored"], third["content_hash"]) == (0, first["content_hash"])


@pytest.mark.parametrize("damage", ["truncated", "small", "animated"])
def test_an_unusable_image_is_named(drawn: Store, recipe: Recipe, damage: str) -> None:
    spoilt: list[str] = []

    def spoil(rows: list[Row]) -> None:
        picture = opened(rows[1])
        data = {
            "truncated": rows[1]["image"]["bytes"][:-300],
            "small": png(picture.resize((6, 6))),
            "animated": png(picture, save_all=True, append_images=[picture.rotate(90)]),
        }[damage]
        rows[1]["image"] = stored_picture(data)
        spoilt.append(rows[1]["image_id"])

    shard = put_pictures(drawn, recipe, spoil)
    with pytest.raises(UnusableImage) as raised:
        pairs(drawn, recipe).make()
    assert f"image {spoilt[0]} in shard file://{images(drawn, recipe).folder.path}/{shard}" in str(raised.value)
    assert "materialize synthetic_images of this source again" in str(raised.value)


def test_bytes_that_are_not_the_hashs_are_refused(drawn: Store, recipe: Recipe) -> None:
    spoilt: list[str] = []

    def swap(rows: list[Row]) -> None:
        rows[1]["image"] = {**rows[1]["image"], "bytes": rows[2]["image"]["bytes"]}
        spoilt.append(rows[1]["image_id"])

    shard = put_pictures(drawn, recipe, swap)
    with pytest.raises(UnusableImage, match="its bytes are not those that its path names") as raised:
        pairs(drawn, recipe).make()
    assert f"image {spoilt[0]} in shard" in str(raised.value)
    assert shard in str(raised.value)
    assert scores_folder(drawn, recipe, "ssim").names() == []


def test_a_score_that_is_not_finite_is_never_stored(
    drawn: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(section: Brightness, where: Context) -> Any:
        return lambda pictures, captions: np.full(len(pictures), np.nan)

    monkeypatch.setattr(Brightness, "load", broken)
    with pytest.raises(UnusableImage, match="its brightness is nan"):
        pairs(drawn, recipe).make()
    assert scores_folder(drawn, recipe, "brightness").names() == []


def test_a_source_without_captions_has_an_empty_table(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    strict = edited(recipe, {"captions.rules.alphanumeric.min_ratio": 1.0})
    images(drawn, strict).captions.make()
    images(drawn, strict).make()
    manifest = pairs(drawn, strict).make()
    assert (manifest["pairs"], manifest["scored"], Brightness.loads) == (0, 0, 0)
    assert pairs(drawn, strict).statistics["ssim"]["mean"] is None
    assert rows_of(drawn, strict) == []
    assert checks.every_image_has_one_score(pairs(drawn, strict)).passed
    assert checks.scores_agree_with_stored_images(pairs(drawn, strict)).passed
    assert examples.examples(pairs(drawn, strict)) == []
    # no image tells the two apart, and yet the pairs of other images are others
    wider = edited(strict, {"generator.width": 72})
    images(drawn, wider).make()
    assert pairs(drawn, wider).make()["image_definition"] == images(drawn, wider).definition


def test_without_images_or_scores_the_remedy_is_told(drawn: Store, recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(NotMaterialized, match=r"scored_pairs of 'laion' is not in .*: materialize scored_pairs first"):
        pairs(drawn, recipe).manifest  # noqa: B018
    with pytest.raises(NotMaterialized, match="materialize"):
        pairs(Store(str(tmp_path / "empty")), recipe).make()


PAID_FOR = [
    ("scores.clip_score.prefix", "A photo depicts ", "clip_score"),
    ("scores.clip_score.weight", 2.5, "clip_score"),
    ("scores.clip_score.architecture", "other", "clip_score"),
    ("scores.clip_score.model.dtype", "bfloat16", "clip_score"),
    ("scores.ssim.shrink_to", 16, "ssim"),
    ("scores.ssim.window", 9, "ssim"),
    ("scores.ssim.resample", "lanczos", "ssim"),
    ("scores.ssim.channels", "luma", "ssim"),
    ("scores.ssim.data_range", 100, "ssim"),
]


@pytest.mark.parametrize(("key", "value", "score"), PAID_FOR, ids=[key for key, _, _ in PAID_FOR])
@pytest.mark.model
def test_a_definition_changes_with_what_its_score_depends_on(
    clip_recipe: Recipe, edited: Edit, key: str, value: object, score: str
) -> None:
    other = edited(clip_recipe, {key: value})
    before, after = definitions(clip_recipe), definitions(other)
    assert [name for name in before if before[name] != after[name]] == [score]
    assert spec(other) != spec(clip_recipe)
    assert ScoredPairs.code_version(other) != ScoredPairs.code_version(clip_recipe)


@pytest.mark.model
def test_no_definition_changes_with_anything_else(clip_recipe: Recipe, edited: Edit) -> None:
    values = clip_recipe.model_dump(mode="json")["scores"]
    other = edited(
        clip_recipe,
        {
            "scores.clip_score.batch_size": 9,
            "scores.ssim.batch_size": 1,
            "selection.weights": {"clip_score": 3.0},
            "seed": 5,
            "threads": 2,
        },
    )
    turned = edited(clip_recipe, {"scores": values[::-1]})
    assert [score.column for score in turned.scores] == ["ssim", "clip_score"]
    for found in (other, turned):
        assert definitions(found) == definitions(clip_recipe)
        assert spec(found) == spec(clip_recipe)
        assert ScoredPairs.code_version(found) == ScoredPairs.code_version(clip_recipe)


@pytest.mark.model
def test_weights_are_known_by_what_they_hold(
    clip_recipe: Recipe, edited: Edit, clip_folder: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(clip_folder, copy)
    moved = edited(clip_recipe, {"scores.clip_score.model.id": str(copy)})
    assert definitions(moved) == definitions(clip_recipe)
    path = copy / "open_clip_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    assert definitions(moved)["clip_score"] != definitions(clip_recipe)["clip_score"]
    shutil.rmtree(copy)
    with pytest.raises(Mendable, match=r"scores\.clip_score\.model"):
        definitions(moved)
    assert ScoredPairs.code_version(moved), "reads no weights"


def test_the_same_scores_in_another_order_are_the_same_pairs(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    first = pairs(drawn, recipe).make()
    turned = edited(recipe, {"scores": [BRIGHTNESS, SSIM]})
    assert ScoredPairs.code_version(turned) == ScoredPairs.code_version(recipe)
    again = pairs(drawn, turned).make()
    assert (again["scored"], again["content_hash"]) == (0, first["content_hash"])
    assert list(rows_of(drawn, turned)[0])[-2:] == ["brightness", "ssim"], "columns follow the recipe"
    assert shards.shards_of(again, "pairs") == shards.shards_of(first, "pairs")
