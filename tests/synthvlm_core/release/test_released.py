"""Releasing: what a set holds, when there is a new release, what a further format adds, and what a kill, damage or a
refusal leaves behind."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import Killed, Mortal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks
from synthvlm_core.release.formats import huggingface
from synthvlm_core.release.released import AnotherRecipe, FailingSource, Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.selection import thresholds
from synthvlm_core.selection.selection import TooFewPairs
from synthvlm_core.store import records
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct
from synthvlm_core.store.sql import Scratch

from .conftest import SET, Edit, all_hold, contents, folder_of, rows_of, score_everything


def ids(store: Store, recipe: Recipe, name: str = SET) -> list[str]:
    return [row["image_id"] for row in rows_of(store, recipe, name)]


def releases(store: Store) -> dict[str, bytes]:
    return contents(Path(store.path("releases")))


def test_the_best_pairs_are_released_with_their_stored_pictures_and_what_draws_them_again(
    scored: Store, recipe: Recipe
) -> None:
    stored, best = {}, {}
    for source in recipe.sources:
        pairs = ScoredPairs(scored, recipe, source.name)
        for part in pairs.images.counting_images():
            stored |= {row["image_id"]: row for row in part.to_pylist()}
        for row in (row for part in pairs.pairs() for row in part.to_pylist()):
            row["weighted_score"] = row["clip_score"] + 0.5 * row["ssim"]
            other = best.get(row["caption_id"], row)
            best[row["caption_id"]] = max(row, other, key=lambda r: r["weighted_score"])
    ordered = sorted(best.values(), key=lambda row: -row["weighted_score"])[:4]
    definition = SyntheticImages(scored, recipe, "cc").definition
    expected = [
        {
            "rank": rank,
            **{name: row[name] for name in ("image_id", "caption_id", "source")},
            **{name: row[name] for name in ("clip_score", "ssim", "weighted_score")},
            **{name: stored[row["image_id"]][name] for name in ("text", "image", "k", "attempt", "seed")},
            "definition": definition,
        }
        for rank, row in enumerate(ordered, 1)
    ]

    manifest = Synthvlm100k(scored, recipe, SET).make()
    assert rows_of(scored, recipe) == expected
    assert manifest["rows"] == 4
    assert manifest["picture_bytes"] == sum(len(row["image"]["bytes"]) for row in expected)
    assert {row["source"] for row in expected} == {"laion", "cc"}, "the example should mix sources"
    assert all_hold(scored, recipe)


def test_the_folder_has_table_formats_card_recipe_and_manifest(released: Store, recipe: Recipe) -> None:
    files = contents(folder_of(released, recipe))
    pictures = {name for name in files if name.startswith("llava/images/")}
    assert len(pictures) == 4
    assert files.keys() - pictures == {
        "README.md",
        "data/train-00000-of-00001.parquet",
        "llava/synthvlm.json",
        "manifest.json",
        "recipe.json",
    }
    named = {file["name"] for file in json.loads(files["manifest.json"])["files"]}
    assert named == files.keys() - {"manifest.json"}


def test_columns_are_read_alone_on_request(released: Store, recipe: Recipe) -> None:
    [part] = Synthvlm100k(released, recipe, SET).rows(["source", "rank"])
    assert part.column_names == ["source", "rank"]
    assert part["rank"].to_pylist() == [1, 2, 3, 4]


def test_rows_are_those_that_the_manifest_names(released: Store, recipe: Recipe) -> None:
    """A foreign file beside the set's is nobody's: neither rows nor training read it."""
    before = rows_of(released, recipe)
    data = folder_of(released, recipe) / "data"
    shutil.copy(data / "train-00000-of-00001.parquet", data / "extra.parquet")
    (data / "garbage.parquet").write_bytes(b"no Parquet")
    assert rows_of(released, recipe) == before
    with Synthvlm100k(released, recipe, SET).parquet_files() as files:
        assert [file.name for file in files] == ["train-00000-of-00001.parquet"]
    told = checks.formats_agree(Synthvlm100k(released, recipe, SET))
    assert not told.passed
    assert "data/extra.parquet is not among the files of the manifest; delete it" in told.summary


def test_parquet_files_are_read_by_row_groups_in_the_order_of_ranks(
    any_store: Store, shelf: Path, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface, "ROWS_PER_FILE", 3)
    monkeypatch.setattr(huggingface, "ROWS_PER_GROUP", 2)
    any_store.fs.put(f"{shelf}/", f"{any_store.root}/", recursive=True)
    Synthvlm100k(any_store, recipe, SET).make()
    stage = Synthvlm100k(any_store, recipe, SET)
    with stage.parquet_files() as files:
        found = [pq.ParquetFile(file) for file in files]
        assert [file.num_row_groups for file in found] == [2, 1]
        groups = [file.read_row_group(n, ["rank"]) for file in found for n in range(file.num_row_groups)]
    assert [group["rank"].to_pylist() for group in groups] == [[1, 2], [3], [4]]
    assert not any(file.exists() for file in files)


def test_bytes_are_proved_as_they_are_read(released: Store, recipe: Recipe) -> None:
    [path] = (folder_of(released, recipe) / "data").iterdir()
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    stage = Synthvlm100k(released, recipe, SET)
    with pytest.raises(DamagedProduct, match=r"00001\.parquet has other bytes .*; materialize synthvlm_100k again"):
        next(stage.rows(["rank"]))
    with pytest.raises(DamagedProduct, match="other bytes"), stage.parquet_files():
        pass


def test_shards_and_the_order_of_sources_do_not_show(
    tmp_path: Path, released: Store, recipe: Recipe, edited: Edit
) -> None:
    other = Store(str(tmp_path / "other"))
    turned = edited(recipe, {"generator.batch_size": 1}).model_copy(update={"sources": recipe.sources[::-1]})
    score_everything(other, turned, shard_rows=1)
    manifest = Synthvlm100k(other, turned, SET).make()
    assert manifest["content_hash"] == Synthvlm100k(released, recipe, SET).manifest["content_hash"]
    assert rows_of(other, turned) == rows_of(released, recipe)


@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows_per_file=st.integers(1, 5),
    rows_per_group=st.integers(1, 5),
    formats=st.sets(st.sampled_from(["llava", "webdataset"])),
)
def test_neither_files_nor_formats_show_in_the_content_hash(
    shelf: Path,
    released_shelf: Path,
    tmp_path_factory: pytest.TempPathFactory,
    recipe: Recipe,
    edited: Edit,
    rows_per_file: int,
    rows_per_group: int,
    formats: set[str],
) -> None:
    store = Store(str(tmp_path_factory.mktemp("other") / "store"))
    shutil.copytree(shelf, store.root)
    other = edited(recipe, {"release.formats": ["huggingface", *sorted(formats)]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(huggingface, "ROWS_PER_FILE", rows_per_file)
        patch.setattr(huggingface, "ROWS_PER_GROUP", rows_per_group)
        manifest = Synthvlm100k(store, other, SET).make()
    assert manifest["content_hash"] == Synthvlm100k(Store(str(released_shelf)), recipe, SET).manifest["content_hash"]
    assert all_hold(store, other)


def test_the_same_pairs_again_write_nothing(released: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in Path(released.path("releases")).rglob("*") if path.is_file()}

    def no_pictures(*_: Any) -> Iterator[pa.Table]:
        raise AssertionError("a release that is there needs no picture")

    monkeypatch.setattr(SyntheticImages, "pictures", no_pictures)
    before, manifest = written(), Synthvlm100k(released, recipe, SET).manifest
    assert Synthvlm100k(released, recipe, SET).make() == {**manifest, "written": []}
    assert written() == before
    assert len(list(folder_of(released, recipe).parent.iterdir())) == 2  # the release and `latest`


def test_a_further_format_is_added_and_changes_no_file_of_the_others(
    released: Store, recipe: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of(released, recipe)
    before = contents(folder)
    monkeypatch.setattr(SyntheticImages, "pictures", None)  # the released table is enough
    more = edited(recipe, {"release.formats": ["huggingface", "llava", "webdataset"]})
    manifest = Synthvlm100k(released, more, SET).make()
    after = contents(folder)
    assert folder_of(released, more) == folder
    assert manifest["written"] == ["webdataset"]
    assert after.keys() - before.keys() == {"webdataset/train-00000-of-00001.tar"}
    assert {name for name in before if before[name] != after[name]} == {"README.md", "manifest.json", "recipe.json"}
    assert b"`webdataset/`" in after["README.md"]
    assert "webdataset/train-00000-of-00001.tar" in Synthvlm100k(released, more, SET).product.names()
    assert all_hold(released, more)


def test_a_format_no_longer_asked_for_stays(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = contents(folder_of(released, recipe))
    fewer = edited(recipe, {"release.formats": ["webdataset"]})
    assert Synthvlm100k(released, fewer, SET).make()["written"] == ["webdataset"]
    stage = Synthvlm100k(released, fewer, SET)
    assert [form.kind_name for form in stage.formats()] == ["huggingface", "webdataset", "llava"]
    after = contents(folder_of(released, fewer))
    assert all(after[name] == data for name, data in before.items() if name.startswith(("data/", "llava/")))
    assert all_hold(released, fewer)

    (folder_of(released, fewer) / "llava" / "synthvlm.json").unlink()
    assert not all_hold(released, fewer)
    stage.make()  # nobody asks for it, so it is not written again, and the manifest no longer promises it
    assert [form.kind_name for form in Synthvlm100k(released, fewer, SET).formats()] == ["huggingface", "webdataset"]
    assert all_hold(released, fewer)


def test_the_table_is_written_whatever_formats_are_asked_for(scored: Store, recipe: Recipe, edited: Edit) -> None:
    """Training and checks read it."""
    only = edited(recipe, {"release.formats": ["webdataset"]})
    assert Synthvlm100k(scored, only, SET).make()["written"] == ["huggingface", "webdataset"]
    assert len(rows_of(scored, only)) == 4
    assert all_hold(scored, only)


def test_another_selection_is_another_release_and_the_old_one_stays(
    released: Store, recipe: Recipe, edited: Edit
) -> None:
    old = folder_of(released, recipe)
    before = contents(old)
    smaller = edited(recipe, {"selection.size": 2})
    Synthvlm100k(released, smaller, SET).make()
    new = folder_of(released, smaller)
    assert new != old
    assert contents(old) == before
    assert len(ids(released, smaller)) == 2

    Synthvlm100k(released, recipe, SET).make()  # and back again
    assert folder_of(released, recipe) == old
    assert contents(old) == before


def test_other_instructions_are_another_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    """The conversations are part of what is released; its name, however, is where it lies."""
    old = folder_of(released, recipe)
    asked = edited(recipe, {"release.instructions": ["What is to be seen?"]})
    Synthvlm100k(released, asked, SET).make()
    assert folder_of(released, asked) != old
    assert b"What is to be seen?" in (folder_of(released, asked) / "llava" / "synthvlm.json").read_bytes()

    renamed = edited(recipe, {"release.name": "another"})
    assert Synthvlm100k(released, renamed, SET).make()["content_hash"] == old.name
    assert folder_of(released, renamed).parent.name == "another"


def test_every_set_is_a_release_of_its_own(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = Synthvlm100k(released, recipe, SET).manifest
    manifest = Synthvlm100k(released, recipe, "random").make()
    assert (before["name"], manifest["name"]) == ("small", "small-random")
    assert (manifest["set"], manifest["by"]) == ("random", "random")
    assert Synthvlm100k(released, recipe, SET).manifest == before
    assert len(ids(released, recipe, "random")) == 4
    assert ids(released, recipe, "random") != ids(released, recipe)

    sets = [{"name": SET}, {"name": "clip-only", "weights": {"clip_score": 1.0}, "size": 3}]
    narrow = edited(recipe, {"selection.sets": sets, "training.variants.random-mini.selection": SET})
    Synthvlm100k(released, narrow, "clip-only").make()
    rows = rows_of(released, narrow, "clip-only")
    assert [row["weighted_score"] for row in rows] == [row["clip_score"] for row in rows]
    assert len(rows) == 3
    for name in (SET, "clip-only"):
        assert all_hold(released, narrow, name)
    # a floor on the weighted score is meant under the selection's weights, whatever the set's own are
    lowest = min(row["clip_score"] + 0.5 * row["ssim"] for row in rows)
    assert all_hold(released, edited(narrow, {"selection.floor": {"weighted_score": lowest}}), "clip-only")
    above = edited(narrow, {"selection.floor": {"weighted_score": lowest + 1e-6}})
    assert not all_hold(released, above, "clip-only")
    assert all_hold(released, recipe, "random")


def test_a_folder_that_was_another_sets_is_not_this_sets_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    """The first set takes the plain name: whoever puts another first has not released it yet."""
    turned = edited(recipe, {"selection.sets": [{"name": "random", "by": "random"}, {"name": SET}]})
    with pytest.raises(NotMaterialized, match="materialize synthvlm_100k first"):
        Synthvlm100k(released, turned, "random").manifest  # noqa: B018
    Synthvlm100k(released, turned, "random").make()
    assert Synthvlm100k(released, turned, "random").manifest["name"] == "small"


def test_another_recipe_never_moves_latest(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = releases(released)
    other = edited(recipe, {"name": "other", "release.name": "small", "selection.size": 2})
    score_everything(released, other)
    remedy = "belongs to recipe 'small', and recipe 'other' may not move it; set release.name to a name of its own"
    with pytest.raises(AnotherRecipe, match=remedy):
        Synthvlm100k(released, other, SET).make()
    with pytest.raises(AnotherRecipe, match=remedy):
        Synthvlm100k(released, other, SET).manifest  # noqa: B018
    assert releases(released) == before
    Synthvlm100k(released, edited(other, {"release.name": "others"}), SET).make()
    assert {name: data for name, data in releases(released).items() if name.startswith("small/")} == before


@pytest.mark.parametrize("content", ["../../outside", "/etc", "", "A" * 32, "0" * 31, 7, None])
def test_latest_leads_nowhere_but_to_a_release(released: Store, recipe: Recipe, content: object) -> None:
    latest = {"content_hash": content, "recipe": "small", "set": SET}
    for pointer in ("candidate.json", "latest.json"):
        released.put_json(released.path("releases", "small", pointer), latest)
    with pytest.raises(
        Mendable,
        match=r"releases/small/candidate\.json: not what it should be: content_hash: .*; delete it and materialize",
    ):
        Synthvlm100k(released, recipe, SET).manifest  # noqa: B018


def test_a_failing_source_stops_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    """Neither a set with it nor one without it, though the other source alone could fill it."""
    before = releases(released)
    numbers = {s.name: thresholds.verify_source(ScoredPairs(released, recipe, s.name)).numbers for s in recipe.sources}
    means = {name: found["mean_clip_score"] for name, found in numbers.items()}
    failing, passing = sorted(means, key=lambda name: means[name])
    strict = edited(
        recipe, {"selection.size": 3, "selection.source_thresholds": {"mean": {"clip_score": means[passing]}}}
    )
    with pytest.raises(FailingSource, match=rf"\({failing}: mean clip.score .* is below .*\); mend them"):
        Synthvlm100k(released, strict, SET).make()
    assert releases(released) == before


def test_too_few_pairs_leave_latest_as_it_was(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = releases(released)
    with pytest.raises(TooFewPairs, match="9 pairs are wanted, 8 can be taken"):
        Synthvlm100k(released, edited(recipe, {"selection.size": 9}), SET).make()
    assert releases(released) == before


def test_without_a_release_the_message_names_the_stage(scored: Store, recipe: Recipe) -> None:
    with pytest.raises(NotMaterialized, match=r"synthvlm_100k of 'synthvlm' .*: materialize synthvlm_100k first"):
        Synthvlm100k(scored, recipe, SET).manifest  # noqa: B018
    assert Synthvlm100k(scored, recipe, SET).find() is None


def test_a_source_without_scores_stops_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = releases(released)
    with pytest.raises(NotMaterialized, match="materialize scored_pairs first"):
        Synthvlm100k(released, edited(recipe, {"scores.ssim.window": 9}), SET).make()
    assert releases(released) == before


def test_images_that_are_gone_stop_the_release(scored: Store, recipe: Recipe) -> None:
    for shard in Path(SyntheticImages(scored, recipe, "cc").folder.path).glob("*.parquet"):
        shard.unlink()
    with pytest.raises(Mendable, match="materialize synthetic_images again"):
        Synthvlm100k(scored, recipe, SET).make()
    assert not Path(scored.path("releases")).exists()


def test_a_stored_picture_that_is_not_the_scored_one_stops_the_release(scored: Store, recipe: Recipe) -> None:
    """A shard whose rows say that their pictures are others, as a faulty stage would have written it: its own bytes
    are sound."""
    [source] = {row["source"] for row in _best(scored, recipe)}
    images = SyntheticImages(scored, recipe, source)
    for name in images.shard_names:
        rows = images.folder.read(name).to_pylist()
        pictures = [row["image"]["bytes"] for row in rows]
        for row, data in zip(rows, [*pictures[1:], pictures[0]], strict=True):
            row["image"] = {**row["image"], "bytes": data}
        shard = images.folder.put(pa.Table.from_pylist(rows, records.SYNTHETIC_IMAGES.schema))
        text = json.dumps(images.manifest).replace(name, shard.name)
        scored.put_json(images.manifest_path, json.loads(text))
    with pytest.raises(Mendable, match="is another picture than its path says"):
        Synthvlm100k(scored, recipe, SET).make()
    assert not Path(scored.path("releases")).exists()


def _best(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    """The row of the highest CLIPScore."""
    rows = [
        row
        for source in recipe.sources
        for part in ScoredPairs(store, recipe, source.name).pairs()
        for row in part.to_pylist()
    ]
    return [max(rows, key=lambda row: row["clip_score"] + 0.5 * row["ssim"])]


def test_the_published_recipe_gives_the_release_again(released: Store, recipe: Recipe) -> None:
    text = (folder_of(released, recipe) / "recipe.json").read_text()
    assert recipe.folder not in text
    again = loading.loads(text)
    assert again.model_copy(update={"folder": recipe.folder}) == recipe


def writes_of(store: Store, recipe: Recipe) -> int:
    """How many writes a release of it takes here; the store is left as it was."""
    copy = f"{store.root}-copy"
    shutil.copytree(store.root, copy)
    counted = Mortal(copy, 1_000)
    Synthvlm100k(counted, recipe, SET).make()
    shutil.rmtree(copy)
    return 1_000 - counted.writes


@pytest.mark.parametrize("what", ["first", "further", "another"])
def test_killed_at_any_write_and_made_again(
    scored: Store, released_shelf: Path, recipe: Recipe, edited: Edit, what: str
) -> None:
    """The first release, a further format, another selection: whatever a kill leaves, the rows of the last release stay
    readable, and the next run ends where an uninterrupted one does."""
    changed = {
        "first": recipe,
        "further": edited(recipe, {"release.formats": ["huggingface", "llava", "webdataset"]}),
        "another": edited(recipe, {"selection.size": 2}),
    }[what]
    if what != "first":
        shutil.rmtree(scored.root)
        shutil.copytree(released_shelf, scored.root)
    base, whole = f"{scored.root}-base", f"{scored.root}-whole"
    shutil.copytree(scored.root, base)
    shutil.copytree(scored.root, whole)
    Synthvlm100k(Store(whole), changed, SET).make()
    before = [] if what == "first" else rows_of(scored, recipe)
    writes = writes_of(Store(base), changed)
    for number, after in [*((number, False) for number in range(writes)), (writes - 1, True)]:
        shutil.rmtree(scored.root)
        shutil.copytree(base, scored.root)
        with pytest.raises(Killed):
            Synthvlm100k(Mortal(scored.root, number, after=after), changed, SET).make()
        latest = Synthvlm100k(scored, recipe, SET).find()
        if latest is not None and latest["rows"] == len(before):
            assert rows_of(scored, recipe) == before
        Synthvlm100k(scored, changed, SET).make()
        assert contents(Path(scored.path("releases"))) == contents(Path(whole, "releases"))
    assert all_hold(scored, changed)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("data/*.parquet", lambda data: data[:-10]),
        ("data/*.parquet", None),
        ("llava/synthvlm.json", lambda data: data.replace(b"a ", b"an ")),
        ("llava/images/*/*.png", lambda data: bytes(len(data))),
        ("llava/images/*/*.png", None),
        ("README.md", None),
        ("recipe.json", lambda data: b"{}"),
        ("manifest.json", lambda data: data[:-10]),
        ("manifest.json", lambda data: b"{}"),
        ("manifest.json", lambda data: b'{"files": []}'),
    ],
    ids=[
        "cut Parquet",
        "no Parquet",
        "other JSON",
        "another picture of the same size",
        "no picture",
        "no card",
        "another recipe",
        "cut manifest",
        "empty manifest",
        "manifest of nothing",
    ],
)
def test_releasing_again_mends_damage(
    released: Store, recipe: Recipe, file: str, change: Callable[[bytes], bytes] | None
) -> None:
    folder = folder_of(released, recipe)
    before = contents(folder)
    path = next(folder.glob(file))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    assert contents(folder) != before
    Synthvlm100k(released, recipe, SET).make()
    assert contents(folder) == before


def test_a_release_on_s3_is_that_on_disk(
    released: Store, recipe: Recipe, edited: Edit, shelf: Path, s3_store: Store
) -> None:
    s3_store.fs.put(f"{shelf}/", f"{s3_store.root}/", recursive=True)
    manifest = Synthvlm100k(s3_store, recipe, SET).make()
    assert {**manifest, "written": None} == {**Synthvlm100k(released, recipe, SET).manifest, "written": None}
    assert Synthvlm100k(s3_store, recipe, SET).make()["written"] == []
    assert rows_of(s3_store, recipe) == rows_of(released, recipe)
    more = edited(recipe, {"release.formats": ["huggingface", "llava", "webdataset"]})
    assert Synthvlm100k(s3_store, more, SET).make()["written"] == ["webdataset"]
    assert all_hold(s3_store, more)


def test_pictures_never_enter_the_scratch_database(
    scored: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are far larger than what its memory is for: only ids, numbers and texts are sorted there."""
    entered: list[pa.DataType] = []
    create = Scratch.create

    def watched_create(self: Scratch, query: Any, values: Any = ()) -> Any:
        if not isinstance(query, str):
            entered.extend(query.schema.types)
        found = create(self, query, values)
        entered.extend(self.connection.table(found.name).limit(0).to_arrow_table().schema.types)
        return found

    monkeypatch.setattr(Scratch, "create", watched_create)
    Synthvlm100k(scored, recipe, SET).make()
    assert entered
    assert not any(pa.types.is_struct(kind) or pa.types.is_binary(kind) for kind in entered)


def test_the_code_version_follows_selection_and_release(recipe: Recipe, edited: Edit) -> None:
    def touched(changes: dict[str, object]) -> bool:
        return Synthvlm100k.code_version(edited(recipe, changes)) != Synthvlm100k.code_version(recipe)

    assert touched({"selection.weights": {"clip_score": 1.0, "ssim": 0.7}})
    assert touched({"release.instructions": ["What is to be seen?"]})
    assert touched({"release.formats": ["huggingface", "webdataset"]})
    assert touched({"seed": 1})
    assert not touched({"training.align.epochs": 3.0, "threads": 2})
