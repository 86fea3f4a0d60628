"""Captions beside the images that they came with: what is had, what is kept without, what disagrees."""

import io
import json
import os
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tiny_blip
from PIL import Image
from web import FileServer

from synthvlm_core import checking, plan
from synthvlm_core.captions import checks
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.nearest import nearest
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.readers import access
from synthvlm_core.captions.what_if import WhatIf
from synthvlm_core.decoding import decode
from synthvlm_core.errors import Mendable
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import sql
from synthvlm_core.store.objects import Store
from synthvlm_miniature.making import originals

Edit = Callable[[Recipe, dict[str, object]], Recipe]
CLIP = "package:synthvlm_miniature/models/clip"
SIMILARITY = {"rule": "image_text_similarity", "model": {"id": CLIP}, "architecture": "miniature", "min_score": 0.5}
ROWS = 60


@pytest.fixture(scope="module")
def drawn() -> list[originals.Original]:
    """Rows of different words whose image is there: five in six show what the caption tells."""
    found = {one.row.text: one for one in originals.originals(rows=600) if one.scene and isinstance(one.row.text, str)}
    return list(found.values())[:ROWS]


@pytest.fixture
def folder(tmp_path: Path, drawn: list[originals.Original]) -> Path:
    """A LAION file of these rows and of one whose link is dead, and the images."""
    found = tmp_path / "mine"
    found.mkdir()
    texts = [one.row.text for one in drawn] + ["a green ring on a black background"]
    urls = [f"https://example.com/{number}.jpg" for number in range(len(texts))]
    pq.write_table(pa.table({"URL": urls, "TEXT": texts}), found / "laion.parquet")
    pictures = [(f"{n:05d}", urls[n], originals.jpeg(one.scene)) for n, one in enumerate(drawn) if one.scene]
    write_tar(found / "00000.tar", pictures)
    return found


def write_tar(path: Path, samples: Sequence[tuple[str, str, bytes]]) -> None:
    """Key, url and picture of each, as img2dataset writes them."""
    with tarfile.open(path, "w") as archive:
        for key, url, data in samples:
            about = json.dumps({"url": url, "key": key}).encode()
            for name, content in ((f"{key}.jpg", data), (f"{key}.json", about)):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.fixture
def recipe(folder: Path, small_recipe: Recipe, edited: Edit) -> Recipe:
    """Image similarity over that file, with the miniature's CLIP."""
    source = {
        "name": "laion",
        "format": "laion",
        "files": ["laion.parquet"],
        "originals": {"by": "img2dataset", "files": ["*.tar"]},
    }
    changes = {"folder": str(folder), "sources": [source], "captions.rules": [SIMILARITY]}
    return edited(small_recipe, changes)


def made(store: Store, recipe: Recipe) -> tuple[FilteredCaptions, dict[str, Any]]:
    RawCaptions(store, recipe, "laion").make()
    return (stage := FilteredCaptions(store, recipe, "laion")), stage.make()


def rows_of(stage: FilteredCaptions) -> dict[str, dict[str, Any]]:
    """Every decided caption by its text; of kept ones `rule` is None."""
    kept = [row | {"rule": None} for table in stage.kept() for row in table.to_pylist()]
    return {row["text"]: row for row in [*kept, *(row for table in stage.rejected() for row in table.to_pylist())]}


def test_captions_that_tell_of_another_picture_are_rejected(
    any_store: Store, recipe: Recipe, drawn: list[originals.Original]
) -> None:
    stage, manifest = made(any_store, recipe)
    rows = rows_of(stage)
    verdicts = [(one.right, rows[str(one.row.text)]["rule"]) for one in drawn]
    assert verdicts.count((False, None)) == 0
    assert verdicts.count((False, "image_text_similarity")) > 4
    assert verdicts.count((True, None)) > 0.9 * sum(one.right for one in drawn)  # the drawings are of whole words
    # a dead link is no verdict on the caption, and it says so
    [alone] = [row for row in rows.values() if row["original_image"] != "ok"]
    assert (alone["rule"], alone["original_image"]) == (None, "not among the files")
    assert manifest["original_images"] == {"ok": ROWS, "not among the files": 1}
    assert manifest["measured_by_family"] == {"original_images": ROWS + 1, "image_text_similarity": ROWS}
    assert checks.kept_captions_pass_every_rule(stage).passed
    again = FilteredCaptions(any_store, recipe, "laion").make()
    assert again["measured"] == 0
    assert again["content_hash"] == manifest["content_hash"]


def test_what_was_fetched_is_kept_as_it_came(store: Store, recipe: Recipe, drawn: list[originals.Original]) -> None:
    stage, _ = made(store, recipe)
    [shard] = Path(store.root).glob("original_images/*/source=laion/*.parquet")
    rows = {row["text"]: row for row in pq.read_table(shard).to_pylist()}
    assert len(rows) == ROWS + 1
    for one in drawn[:10]:
        assert one.scene is not None
        assert rows[str(one.row.text)]["image"]["bytes"] == originals.jpeg(one.scene)
        assert rows[str(one.row.text)]["original_id"] == rows_of(stage)[str(one.row.text)]["original_id"]
    dead = rows["a green ring on a black background"]
    assert (dead["outcome"], dead["image"]) == ("not among the files", None)


@pytest.mark.parametrize("shard_rows", [7, 1000])
def test_shards_change_no_verdict(store: Store, recipe: Recipe, shard_rows: int, tmp_path: Path) -> None:
    _, manifest = made(store, recipe)
    other = Store(str(tmp_path / "other"))
    RawCaptions(other, recipe, "laion").make()
    again = FilteredCaptions(other, recipe, "laion").make(shard_rows=shard_rows)
    assert again["content_hash"] == manifest["content_hash"]


def test_captions_without_an_image_may_be_dropped(store: Store, recipe: Recipe, edited: Edit) -> None:
    stage, _ = made(store, edited(recipe, {"captions.rules": [SIMILARITY | {"without_image": "drop"}]}))
    row = rows_of(stage)["a green ring on a black background"]
    assert (row["rule"], row["original_image"]) == ("image_text_similarity", "not among the files")
    assert np.isnan(row["value"])
    assert checks.kept_captions_pass_every_rule(stage).passed
    assert checks.rows_add_up(stage).passed


def test_an_image_that_came_later_is_asked_for_again(store: Store, recipe: Recipe, folder: Path) -> None:
    _, before = made(store, recipe)
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), "white").save(buffer, "JPEG")
    write_tar(folder / "00001.tar", [("x", f"https://example.com/{ROWS}.jpg", buffer.getvalue())])
    [source] = plan.plan(store, recipe).sources
    assert source.to_measure == {"original_images": 1, "image_text_similarity": 1}
    stage, after = made(store, recipe)
    assert before["kept"] == after["kept"] + 1  # a white picture is no green ring
    assert after["measured_by_family"] == {"original_images": 1, "image_text_similarity": 1}
    assert rows_of(stage)["a green ring on a black background"]["rule"] == "image_text_similarity"


def test_another_threshold_reads_no_picture(store: Store, recipe: Recipe, edited: Edit, folder: Path) -> None:
    _, before = made(store, recipe)
    stage, after = made(store, edited(recipe, {"captions.rules": [SIMILARITY | {"min_score": 0.9}]}))
    assert after["measured"] == 0
    assert after["kept"] < before["kept"]
    near = nearest(stage)["image_text_similarity"]
    assert all(value < 0.9 for _, value in near["rejected"])
    assert min(value for _, value in near["kept"]) >= 0.9


def test_damaged_images_are_had_again(store: Store, recipe: Recipe, edited: Edit) -> None:
    made(store, recipe)
    [shard] = Path(store.root).glob("original_images/*/source=laion/*.parquet")
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    os.chmod(shard, 0o600)
    shard.write_bytes(data)
    for values in Path(store.root).glob("caption_measurements/*/source=laion/*.parquet"):
        values.unlink()
    other = edited(recipe, {"captions.rules": [SIMILARITY | {"min_score": 0.55}]})
    with pytest.raises(Mendable, match=f"{ROWS} original images are damaged and set aside; run again"):
        FilteredCaptions(store, other, "laion").make()
    _, manifest = made(store, other)
    assert manifest["measured_by_family"] == {"original_images": ROWS + 1, "image_text_similarity": ROWS}


def test_the_most_similar_are_chosen_exactly(store: Store, recipe: Recipe, edited: Edit) -> None:
    by_value = sorted(
        (
            (row["image_similarity"], row["caption_id"])
            for table in values_of(*made(store, recipe))
            for row in table.to_pylist()
        ),
        key=lambda pair: (-pair[0], pair[1]),
    )
    passing = [pair for pair in by_value if pair[0] >= 0.5]
    for chosen, most in (
        ({"share": 0.4}, -(-len(passing) * 4 // 10)),
        ({"count": 7}, 7),
        ({"share": 0.5, "count": 3}, 3),
    ):
        stage, manifest = made(
            store, edited(recipe, {"captions.rules": [SIMILARITY, {"rule": "most_similar"} | chosen]})
        )
        kept = {
            row["caption_id"] for row in rows_of(stage).values() if not row["rule"] and row["original_image"] == "ok"
        }
        assert kept == {caption for _, caption in passing[:most]}
        assert manifest["rejected_by_rule"]["most_similar"] == len(passing) - most
        assert manifest["rules"][1]["minimum"] == passing[most - 1][0]
        assert checks.kept_captions_pass_every_rule(stage).passed


def values_of(stage: FilteredCaptions, _: Any) -> Any:
    [family] = stage.families
    return stage.measured(family).sound_tables()


def test_a_plan_and_a_what_if_know_what_is_stored(store: Store, recipe: Recipe, edited: Edit) -> None:
    RawCaptions(store, recipe, "laion").make()
    [source] = plan.plan(store, recipe).sources
    assert source.to_measure == {"original_images": ROWS + 1, "image_text_similarity": ROWS + 1}
    assert not source.exact
    _, manifest = made(store, recipe)
    stricter = edited(
        recipe, {"captions.rules": [SIMILARITY | {"min_score": 0.9}, {"rule": "most_similar", "count": 3}]}
    )
    [source] = plan.plan(store, stricter).sources
    assert (source.exact, source.kept) == (True, 4)  # three and the one without an image
    with sql.scratch() as scratch:
        found = WhatIf(scratch, FilteredCaptions(store, recipe, "laion"))
        assert found.kept == manifest["kept"]
        outcomes = {one.bounds.minimum: one.kept for one in found.outcomes("image_text_similarity")}
        assert all(one.unread == 0 for one in found.outcomes("image_text_similarity"))
    assert outcomes[0.5] == manifest["kept"]
    dropping = edited(recipe, {"captions.rules": [SIMILARITY | {"without_image": "drop"}]})
    with sql.scratch() as scratch:
        assert WhatIf(scratch, FilteredCaptions(store, dropping, "laion")).kept == manifest["kept"] - 1


def test_blip_looks_at_real_photos(
    store: Store, small_recipe: Recipe, edited: Edit, tmp_path: Path, real_data: Path
) -> None:
    weights = tiny_blip.write(tmp_path / "blip")
    source = {
        "name": "flickr",
        "format": "img2dataset",
        "files": [str(real_data / "flickr8k" / "*.tar")],
        "originals": {"by": "img2dataset", "files": [str(real_data / "flickr8k" / "*.tar")]},
    }
    rule = {"rule": "image_text_matching", "model": {"id": str(weights)}, "min_score": 0.5, "batch_size": 16}
    recipe = edited(small_recipe, {"sources": [source], "captions.rules": [rule]})
    RawCaptions(store, recipe, "flickr").make()
    stage = FilteredCaptions(store, recipe, "flickr")
    manifest = stage.make()
    assert manifest["original_images"] == {"ok": manifest["captions"]}
    assert 0 < manifest["kept"] < manifest["captions"]
    rows = {row["text"]: row for row in rows_of(stage).values()}
    values = {
        row["caption_id"]: row["itm_score"]
        for table in stage.measured(stage.families[0]).sound_tables()
        for row in table.to_pylist()
    }
    reference = Reference(weights)
    folder = Path(store.root) / "original_images"
    stored = [row for shard in folder.glob("*/*/*.parquet") for row in pq.read_table(shard).to_pylist()]
    for row in stored[:40]:
        wanted = reference(decode(row["image"]["bytes"]), row["text"])
        assert values[rows[row["text"]]["caption_id"]] == pytest.approx(wanted, abs=2e-6)


class Reference:
    """transformers' own use of the model, a pair at a time, as Data-Juicer's operator asks it."""

    def __init__(self, weights: Path) -> None:
        from transformers import BlipForImageTextRetrieval, BlipProcessor

        self.processor: Any = BlipProcessor.from_pretrained(weights)
        self.model: Any = BlipForImageTextRetrieval.from_pretrained(weights).eval()

    def __call__(self, picture: Image.Image, text: str) -> float:
        import torch

        longest = self.model.config.text_config.max_position_embeddings
        inputs = self.processor(
            images=picture, text=text, return_tensors="pt", truncation=True, max_length=longest, padding=True
        )
        with torch.inference_mode():
            return float(self.model(**inputs).itm_score.softmax(dim=-1)[0, 1])


class TestFolders:
    """What img2dataset writes is found in tars and in folders, and what is broken in it is told."""

    def test_loose_files(self, store: Store, recipe: Recipe, edited: Edit, folder: Path) -> None:
        _, tarred = made(store, recipe)
        with tarfile.open(folder / "00000.tar") as archive:
            archive.extractall(folder / "loose" / "00000", filter="data")
        (folder / "loose" / "00000" / "readme.md").write_text("not a sample")
        loose = {"sources.laion.originals": {"by": "img2dataset", "files": ["loose/*/*"]}}
        other = Store(store.root + "-loose")
        assert made(other, edited(recipe, loose))[1]["content_hash"] == tarred["content_hash"]

    def test_a_picture_is_found_by_the_publishers_id(
        self, store: Store, small_recipe: Recipe, edited: Edit, tmp_path: Path, folder: Path
    ) -> None:
        """img2dataset's own captions have no other address where its URL is gone."""
        source = {
            "name": "laion",
            "format": "img2dataset",
            "files": [str(tmp_path / "own.tar")],
            "originals": {"by": "img2dataset", "files": [str(tmp_path / "own.tar")]},
        }
        buffer = io.BytesIO()
        Image.new("RGB", (64, 64), "red").save(buffer, "PNG")
        with tarfile.open(tmp_path / "own.tar", "w") as archive:
            for name, content in (("7.png", buffer.getvalue()), ("7.txt", b"a large red circle on a white background")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        stage, manifest = made(store, edited(small_recipe, {"sources": [source], "captions.rules": [SIMILARITY]}))
        assert manifest["original_images"] == {"ok": 1}
        [row] = rows_of(stage).values()
        assert row["original_image"] == "ok"

    def test_what_is_no_picture_is_counted(self, store: Store, recipe: Recipe, folder: Path) -> None:
        large = b"\xff\xd8\xff" + bytes(9 << 20)
        write_tar(
            folder / "00000.tar",
            [("0", "https://example.com/0.jpg", b"no picture"), ("1", "https://example.com/1.jpg", large)],
        )
        _, manifest = made(store, recipe)
        assert manifest["original_images"] == {"not among the files": ROWS - 1, "no picture": 1, "too large": 1}
        assert manifest["kept"] == ROWS + 1

    def test_a_damaged_archive_is_named(self, store: Store, recipe: Recipe, folder: Path) -> None:
        data = (folder / "00000.tar").read_bytes()
        (folder / "00000.tar").write_bytes(data[: len(data) // 2])
        with pytest.raises(SourceError, match=r"00000\.tar: cannot be read as tar.*download or write it again"):
            made(store, recipe)


def test_what_can_be_known_is_told_before_a_run(recipe: Recipe, edited: Edit, folder: Path) -> None:
    def told(changes: dict[str, object]) -> list[str]:
        path = folder / "told.yaml"
        values = json.loads(recipes.dumps(edited(recipe, {"folder": str(folder), **changes})))
        path.write_text(json.dumps({name: value for name, value in values.items() if name != "folder"}))
        return [f"{one.key}: {one.message}" for one in checking.problems(recipes.read(str(path)))]

    gone = {"sources.laion.originals": {"by": "img2dataset", "files": [str(folder / "gone" / "*.tar")]}}
    assert any(line.startswith("sources.0.originals.files.0: ") and "matches no file" in line for line in told(gone))
    assert told({"sources.laion.originals": None}) == []  # the rule keeps captions without an image
    cc = {"name": "cc", "format": "laion", "files": [str(folder / "laion.parquet")]}
    sources = [json.loads(recipe.sources[0].model_dump_json()), cc]
    dropping = told({"sources": sources, "captions.rules": [SIMILARITY | {"without_image": "drop"}]})
    assert any("drop would drop every caption of cc" in line for line in dropping)


def test_images_of_the_web_are_asked_for_once(
    store: Store,
    recipe: Recipe,
    edited: Edit,
    folder: Path,
    drawn: list[originals.Original],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    right, wrong = (next(one for one in drawn if one.right == told) for told in (True, False))
    with FileServer() as server:
        server.files = {f"/{n}.jpg": originals.jpeg(one.scene) for n, one in enumerate((right, wrong)) if one.scene}
        texts = [right.row.text, wrong.row.text, "a green ring on a black background"]
        urls = [f"http://127.0.0.1:{server.port}/{n}.jpg" for n in range(3)]
        pq.write_table(pa.table({"URL": urls, "TEXT": texts}), folder / "laion.parquet")
        web = edited(recipe, {"sources.laion.originals": "web"})
        stage, manifest = made(store, web)
        assert manifest["original_images"] == {"ok": 2, "http 404": 1}
        rules = {row["text"]: row["rule"] for row in rows_of(stage).values()}
        assert rules == {texts[0]: None, texts[1]: "image_text_similarity", texts[2]: None}
        asked = len(server.requests)
        _, again = made(store, edited(web, {"captions.rules": [SIMILARITY | {"min_score": 0.6}]}))
        assert (again["measured"], len(server.requests)) == (0, asked)


def test_a_decision_is_read_where_the_files_are_gone(store: Store, recipe: Recipe, folder: Path) -> None:
    """They may lie on another machine, or on a disk that was given back: only who decides anew needs them."""
    _, manifest = made(store, recipe)
    (folder / "00000.tar").unlink()
    stage = FilteredCaptions(store, recipe, "laion")
    assert stage.manifest["content_hash"] == manifest["content_hash"]
    assert checks.kept_captions_pass_every_rule(stage).passed
    assert nearest(stage)["image_text_similarity"]["rejected"]
    with pytest.raises(SourceError, match="matches no file"):
        FilteredCaptions(store, recipe, "laion").make()
