"""The stage: what is drawn, what is drawn again, what counts, and that a kill does not show."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Fate, Killed, Mortal, Painter, filter_captions
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.decoding import decode
from synthvlm_core.errors import NotMaterialized, RecipeError
from synthvlm_core.images.synthetic import SyntheticImages, definition, image_id
from synthvlm_core.parts.generator import Request, seed_of
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import records, sql
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import DamagedShard

Edit = Callable[[Recipe, dict[str, object]], Recipe]
SOURCE = "laion"
CAPTIONS = 4


def images(store: Store, recipe: Recipe) -> SyntheticImages:
    return SyntheticImages(store, recipe, SOURCE)


def counting(store: Store, recipe: Recipe) -> pa.Table:
    empty = records.SYNTHETIC_IMAGES.schema.empty_table()
    return pa.concat_tables([empty, *images(store, recipe).counting_images()]).sort_by(
        [("caption_id", "ascending"), ("k", "ascending")]
    )


def stored_rows(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    folder = images(store, recipe).folder
    return [row for name in folder.names() for row in folder.read(name).to_pylist()]


def unlucky(painter: Painter, request: Request) -> Fate:
    """Some images fail once and twice, and some never succeed."""
    kind = (int(request.caption_id[:4], 16) + request.k) % 4
    if kind == 0 or (kind == 1 and request.attempt == 1):
        return "flat"
    return "nan" if kind == 1 and request.attempt == 0 else "ok"


@pytest.fixture
def unlucky_painting(painting: Recipe, monkeypatch: pytest.MonkeyPatch) -> Recipe:
    monkeypatch.setattr(Painter, "fate", unlucky)
    return painting


def test_importing_the_stage_loads_no_torch() -> None:
    code = "import sys, synthvlm_core.images.synthetic, synthvlm_core.images.checks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_real_pipeline_from_captions_to_stored_images(filtered: Store, drawing: Recipe) -> None:
    told: list[tuple[str, int, int]] = []
    stage = images(filtered, drawing)
    manifest = stage.make(lambda what, done, total: told.append((what, done, total)))
    assert (manifest["captions"], manifest["wanted"], manifest["drawn"]) == (CAPTIONS, 8, 8)
    assert manifest["healthy"] + manifest["given_up"] == 8
    assert manifest["truncated_prompts"] == manifest["healthy"] == 8  # the tiny encoders see 24 letters
    assert list(dict.fromkeys(told)) == [("draw", 0, 8), ("draw", 4, 8), ("draw", 8, 8)]
    assert manifest["environments"][0]["base"]["pipeline"] == "StableDiffusionXLPipeline"

    rows = counting(filtered, drawing)
    assert rows.schema.equals(records.SYNTHETIC_IMAGES.schema, check_metadata=False)
    assert rows["k"].to_pylist() == [0, 1] * CAPTIONS
    for row in rows.to_pylist():
        assert decode(row["image"]["bytes"]).size == (64, 64)
        assert row["seed"] == seed_of(0, row["caption_id"], row["k"], 0)
        assert row["image_id"] == image_id(row["caption_id"], row["k"], 0, stage.definition)
        assert row["health"] == "ok"
    folder = stage.folder
    assert pq.read_metadata(f"{folder.path}/{folder.names()[0]}").num_rows == 8

    assert images(filtered, drawing).manifest == manifest
    assert images(filtered, drawing).make() == {**manifest, "drawn": 0}


def test_a_real_pipeline_killed_and_resumed_gives_the_same_bytes(
    filtered: Store, drawing: Recipe, tmp_path: Path
) -> None:
    whole = images(filtered, drawing).make(shard_rows=4)
    url = str(tmp_path / "other")
    filter_captions(Store(url), drawing)
    with pytest.raises(Killed):
        images(Mortal(url, 2), drawing).make(shard_rows=4)  # environment, one shard
    resumed = images(Store(url), drawing).make(shard_rows=4)
    assert resumed["drawn"] == 4
    assert resumed["content_hash"] == whole["content_hash"]
    assert counting(Store(url), drawing).equals(counting(filtered, drawing))


def test_unhealthy_images_are_drawn_again_and_counted(filtered: Store, unlucky_painting: Recipe) -> None:
    manifest = images(filtered, unlucky_painting).make()
    rows = counting(filtered, unlucky_painting)
    tried = {(r.caption_id, r.k): r.attempt for r in Painter.requests}
    attempts = list(tried.values())
    never = manifest["given_up"]
    twice = attempts.count(2) - never
    assert (never, twice) == (3, 2)  # the captions' ids make it so
    assert manifest["healthy"] == rows.num_rows == 8 - never
    assert manifest["attempts"] == manifest["drawn"] == len(Painter.requests) == 8 + 2 * (never + twice)
    assert manifest["unhealthy"] == 3 * never + 2 * twice
    assert manifest["redrawn"] == 2 * (never + twice)
    assert manifest["unhealthy_share"] == manifest["unhealthy"] / manifest["attempts"]
    assert set(rows["health"].to_pylist()) == {"ok"}
    assert rows["attempt"].to_pylist().count(2) == twice
    unhealthy = [row for row in stored_rows(filtered, unlucky_painting) if row["health"] != "ok"]
    assert {row["health"] for row in unhealthy} == {"nan", "flat"}
    assert all(decode(row["image"]["bytes"]).size == (64, 64) for row in unhealthy)


def test_only_what_nobody_drew_is_drawn(filtered: Store, painting: Recipe, edited: Edit) -> None:
    def drawn(recipe: Recipe) -> tuple[int, str]:
        found = images(filtered, recipe).make()
        return found["drawn"], found["content_hash"]

    two = drawn(painting)
    assert two[0] == 8
    for change in (
        {"generator.images_per_caption": 1},
        {"generator.batch_size": 3},
        {"generator.health.max_unhealthy_share": 1.0},
        {"generator.health.max_attempts": 9},
        {"selection.size": 1},
    ):
        assert drawn(edited(painting, change))[0] == 0
    assert drawn(edited(painting, {"generator.images_per_caption": 3}))[0] == CAPTIONS
    assert drawn(painting) == (0, two[1])
    for change in (
        {"generator.width": 72},
        {"generator.encoding": {"format": "jpeg", "quality": 95}},
        {"generator.health.min_std": 3.0},
        {"seed": 1},
    ):
        assert drawn(edited(painting, change))[0] == 8


def test_another_model_or_setting_of_diffusers_is_another_definition(drawing: Recipe, edited: Edit) -> None:
    changes: list[dict[str, object]] = [
        {"generator.guidance_scale": 3.0},
        {"generator.steps": 3},
        {"generator.scheduler": "DDIMScheduler"},
        {"generator.guidance_scale": 2.0, "generator.negative_prompt": ""},
        {"generator.model.dtype": "bfloat16"},
    ]
    found = [definition(drawing), *(definition(edited(drawing, change)) for change in changes)]
    assert len(set(found)) == len(found)
    assert definition(edited(drawing, {"generator.batch_size": 8, "threads": 2})) == found[0]


def test_weights_that_move_keep_their_definition(
    drawing: Recipe, pipelines: Path, tmp_path: Path, edited: Edit
) -> None:
    shutil.copytree(pipelines / "base", tmp_path / "moved")
    moved = edited(drawing, {"generator.model.id": str(tmp_path / "moved")})
    assert definition(moved) == definition(drawing)
    assert SyntheticImages.code_version(moved) != SyntheticImages.code_version(drawing)  # it reads no file
    (tmp_path / "moved" / "unet" / "config.json").write_text("{}")
    assert definition(moved) != definition(drawing)


def test_an_added_caption_draws_its_own_images(filtered: Store, painting: Recipe, source_files: Path) -> None:
    before = images(filtered, painting).make()
    texts = pq.read_table(source_files / "laion.parquet")
    added = pa.table(
        {"URL": ["https://example.com/new.jpg"], "TEXT": ["a brand new yellow star over a long black line"]}
    )
    pq.write_table(pa.concat_tables([texts, added]), source_files / "laion.parquet")
    filter_captions(filtered, painting)
    with pytest.raises(NotMaterialized, match="materialize synthetic_images first"):
        _ = images(filtered, painting).manifest
    after = images(filtered, painting).make()
    assert (after["captions"], after["drawn"], after["healthy"]) == (CAPTIONS + 1, 2, 10)
    assert after["content_hash"] != before["content_hash"]
    pq.write_table(texts, source_files / "laion.parquet")
    filter_captions(filtered, painting)
    assert images(filtered, painting).make() == {**before, "drawn": 0}


def test_raised_attempts_continue_where_they_stopped(
    filtered: Store, painting: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Painter, "fate", lambda painter, request: "flat" if request.attempt < 3 else "ok")
    first = images(filtered, painting).make()
    assert (first["healthy"], first["given_up"], first["attempts"]) == (0, 8, 24)
    assert list(images(filtered, painting).counting_images()) == []
    more = edited(painting, {"generator.health.max_attempts": 5})
    second = images(filtered, more).make()
    assert (second["healthy"], second["given_up"], second["drawn"]) == (8, 0, 8)
    assert images(filtered, painting).make()["healthy"] == 0


def test_damage_is_drawn_again(filtered: Store, painting: Recipe) -> None:
    whole = images(filtered, painting).make(shard_rows=4)
    folder = images(filtered, painting).folder
    for damage in ("truncated", "one bit", "gone"):
        path = Path(folder.path, folder.names()[0])
        data = path.read_bytes()
        if damage == "gone":
            path.unlink()
        else:
            middle = len(data) // 2
            bits = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
            path.write_bytes(data[:-10] if damage == "truncated" else bits)
        with pytest.raises(DamagedShard, match=path.name):
            list(images(filtered, painting).counting_images())
        again = images(filtered, painting).make(shard_rows=4)
        assert again["drawn"] == 4
        assert again["content_hash"] == whole["content_hash"]
        assert counting(filtered, painting).num_rows == 8


def test_shards_are_whole_batches_in_the_order_of_captions(filtered: Store, painting: Recipe) -> None:
    images(filtered, painting).make(shard_rows=7)
    folder = images(filtered, painting).folder
    keys = sorted([(r["caption_id"], r["k"]) for r in folder.read(name).to_pylist()] for name in folder.names())
    assert [len(shard) for shard in keys] == [4, 4]
    assert [key for shard in keys for key in shard] == sorted((r.caption_id, r.k) for r in Painter.requests)


def test_state_and_pictures_tell_of_the_same_images(filtered: Store, unlucky_painting: Recipe) -> None:
    stage = images(filtered, unlucky_painting)
    stage.make(shard_rows=4)
    with sql.scratch() as scratch:
        state = stage.state(scratch)
        assert scratch.count(state.captions) == CAPTIONS
        assert scratch.count(state.stored) == scratch.count(state.relevant) == stage.manifest["attempts"]
        wanted = scratch.create(f"select shard, image_id from {state.counting} where k = 0")
        found = list(stage.pictures(scratch, wanted))
        told = dict(scratch.rows(f"select image_id, picture_hash from {state.counting} where k = 0"))
    rows = pa.concat_tables(found)
    assert len(found) == len(set(rows["shard"].to_pylist()))
    assert rows.column_names == [*records.SYNTHETIC_IMAGES.names, "shard"]
    assert {row["image_id"]: row["image"]["path"].split(".")[0] for row in rows.to_pylist()} == told


def test_without_captions_or_images_the_remedy_is_told(store: Store, filtered: Store, painting: Recipe) -> None:
    with pytest.raises(NotMaterialized, match="materialize synthetic_images first"):
        _ = images(filtered, painting).manifest
    with pytest.raises(NotMaterialized, match="raw_captions"):
        images(Store(store.root + "-empty"), painting).make()


def test_a_generator_that_this_installation_lacks_is_told_before_anything_is_drawn(
    filtered: Store, painting: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Painter, "unavailable", lambda painter, context: "no brush; install one")
    with pytest.raises(RecipeError, match="generator: painter: no brush; install one"):
        images(filtered, painting).make()
    assert Painter.requests == []


def test_the_generator_stays_loaded_for_the_next_source(
    filtered: Store, painting: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = edited(painting, {"seed": 12345})  # nobody has loaded this one
    load, loaded = Painter.load, []
    monkeypatch.setattr(Painter, "load", lambda painter, context: (loaded.append(1), load(painter, context))[1])
    for source in recipe.sources:
        SyntheticImages(filtered, recipe, source.name).make()
    assert loaded == [1]


def test_on_a_bucket_as_on_disk(s3_store: Store, filtered: Store, unlucky_painting: Recipe, edited: Edit) -> None:
    filter_captions(s3_store, unlucky_painting)
    found = [images(store, unlucky_painting).make(shard_rows=4) for store in (s3_store, filtered)]
    assert found[0] == found[1]
    assert counting(s3_store, unlucky_painting).equals(counting(filtered, unlucky_painting))
    one_more = edited(unlucky_painting, {"generator.images_per_caption": 3, "generator.health.max_attempts": 1})
    assert images(s3_store, one_more).make()["drawn"] == CAPTIONS


kills = st.lists(st.tuples(st.sampled_from([4, 8, 100]), st.integers(0, 7), st.booleans(), st.booleans()), max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=8)
@given(kills=kills)
def test_any_interleaving_of_kills_shard_sizes_and_edits_gives_one_clean_run(
    tmp_path_factory: pytest.TempPathFactory,
    filtered: Store,
    unlucky_painting: Recipe,
    edited: Edit,
    kills: list[tuple[int, int, bool, bool]],
) -> None:
    more = edited(unlucky_painting, {"generator.images_per_caption": 3})
    url = str(tmp_path_factory.mktemp("contract") / "eventful")
    shutil.copytree(filtered.root, url, ignore=shutil.ignore_patterns("synthetic_images"))
    for shard_rows, writes, after, third in kills:
        with contextlib.suppress(Killed):
            images(Mortal(url, writes, after=after), more if third else unlucky_painting).make(shard_rows=shard_rows)
    eventful = images(Store(url), unlucky_painting).make(shard_rows=4)
    clean = images(filtered, unlucky_painting).make(shard_rows=100)
    numbers = ("captions", "wanted", "healthy", "given_up", "attempts", "unhealthy", "redrawn", "content_hash")
    assert {name: eventful[name] for name in numbers} == {name: clean[name] for name in numbers}
    assert counting(Store(url), unlucky_painting).equals(counting(filtered, unlucky_painting))


@pytest.mark.parametrize("shards", [1, 2])
def test_a_kill_costs_at_most_a_shard(filtered: Store, painting: Recipe, tmp_path: Path, shards: int) -> None:
    url = str(tmp_path / "mortal")
    shutil.copytree(filtered.root, url)
    with pytest.raises(Killed):
        images(Mortal(url, 1 + shards, after=False), painting).make(shard_rows=4)  # the environment, then shards
    Painter.requests.clear()
    images(Store(url), painting).make(shard_rows=4)
    assert len(Painter.requests) == 8 - 4 * shards


def test_two_writers_at_once_end_right(filtered: Store, unlucky_painting: Recipe, tmp_path: Path) -> None:
    clean = images(filtered, unlucky_painting).make()
    url = str(tmp_path / "shared")
    filter_captions(Store(url), unlucky_painting)

    def run(shard_rows: int) -> str:
        return str(images(Store(url), unlucky_painting).make(shard_rows=shard_rows)["content_hash"])

    with ThreadPoolExecutor(3) as pool:
        assert set(pool.map(run, (4, 4, 8))) == {clean["content_hash"]}
    assert counting(Store(url), unlucky_painting).equals(counting(filtered, unlucky_painting))
