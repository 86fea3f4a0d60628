import os
from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_core.captions import judging
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]


def raw(store: Store, recipe: Recipe, source: str = "cc") -> RawCaptions:
    """The stage as another process would see it."""
    return RawCaptions(store, recipe, source)


def rows(stage: RawCaptions) -> list[tuple[str, int, str]]:
    return [
        tuple(row.values())
        for table in stage.captions(["file", "row", "text"])
        for row in table.select(["file", "row", "text"]).to_pylist()
    ]


def test_every_row_is_a_caption_or_in_quarantine(any_store: Store, small_recipe: Recipe) -> None:
    manifest = raw(any_store, small_recipe).make()
    assert (manifest["rows"], manifest["quarantined"]) == (4, 2)
    assert manifest["reasons"] == {"caption is not UTF-8": 1, "not 2 columns": 1}
    stage = raw(any_store, small_recipe)
    assert [row for _, row, _ in rows(stage)] == [0, 1, 2, 3]
    [bad] = stage.quarantine()
    assert bad["row"].to_pylist() == [4, 5]
    assert bad["content"][1].as_py() == b"one column only"


def test_what_was_made_is_known_without_reading_it_again(store: Store, small_recipe: Recipe) -> None:
    stage = raw(store, small_recipe)
    made = stage.make()
    Path(stage.manifest_path).unlink()
    assert stage.manifest == made
    with pytest.raises(NotMaterialized):
        raw(store, small_recipe).manifest  # noqa: B018


def test_files_read_before_are_not_read_again(
    store: Store, small_recipe: Recipe, source_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = raw(store, small_recipe).make()
    (source_files / "more.tsv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    read: list[str] = []
    original = judging.read
    monkeypatch.setattr(judging, "read", lambda source, file: (read.append(file.name), original(source, file))[1])
    after = raw(store, small_recipe).make()
    assert read == ["more.tsv"]
    assert after["rows"] == before["rows"] + 1
    assert after["content_hash"] != before["content_hash"]


def test_a_removed_file_leaves_the_source(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    before = raw(store, small_recipe).make()
    (source_files / "more.tsv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    raw(store, small_recipe).make()
    (source_files / "more.tsv").unlink()
    assert raw(store, small_recipe).make() == before


def test_changed_notices_new_and_changed_files_only(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    assert raw(store, small_recipe).changed() is not None
    raw(store, small_recipe).make()
    assert raw(store, small_recipe).changed() is None
    (source_files / "cc.tsv").write_bytes(b"another caption\thttps://example.com/1.jpg\n")
    first = raw(store, small_recipe).changed()
    assert first is not None
    assert raw(store, small_recipe).changed() == first
    (source_files / "more.tsv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    assert raw(store, small_recipe).changed() not in (None, first)


def test_two_recipes_share_a_store_without_sharing_a_source(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    (source_files / "other.csv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    other = edited(small_recipe, {"name": "other", "sources.cc.files": ["other.csv"]})
    before = raw(store, small_recipe).make()
    assert raw(store, other).make()["rows"] == 1
    assert raw(store, small_recipe).manifest == before


def test_what_changes_no_row_reads_no_file(store: Store, small_recipe: Recipe, edited: Edit, monkeypatch) -> None:
    before = raw(store, small_recipe).make()
    monkeypatch.setattr(judging, "read", None)  # reading would fail
    listed = edited(small_recipe, {"sources.cc.files": ["cc.tsv"]})
    assert raw(store, listed).make() == before
    with pytest.raises(TypeError):
        raw(store, edited(small_recipe, {"sources.cc.origin": "model"})).make()
    with pytest.raises(TypeError):
        raw(store, edited(small_recipe, {"sources.cc.max_characters": 10})).make()


@pytest.mark.parametrize("damage", [b"", b"{}", b"{", b"[]"])
def test_a_damaged_manifest_is_written_again(store: Store, small_recipe: Recipe, damage: bytes) -> None:
    before = raw(store, small_recipe).make()
    for path in Path(store.root).rglob("*.json"):
        path.write_bytes(damage)
    assert raw(store, small_recipe).changed() is not None
    assert raw(store, small_recipe).make() == before


@pytest.mark.parametrize("damage", [b"{", b"[]"])
def test_a_damaged_manifest_is_named_to_who_reads_it(store: Store, small_recipe: Recipe, damage: bytes) -> None:
    raw(store, small_recipe).make()
    path = Path(raw(store, small_recipe).manifest_path)
    path.write_bytes(damage)
    with pytest.raises(Mendable, match=rf"{path.name}: .*delete it and materialize raw_captions of 'cc' again"):
        raw(store, small_recipe).manifest  # noqa: B018


def test_the_content_hash_does_not_know_when_or_how_a_file_was_read(
    tmp_path: Path, small_recipe: Recipe, source_files: Path
) -> None:
    first = raw(Store(str(tmp_path / "one")), small_recipe, "laion").make()
    os.utime(source_files / "laion.parquet", (1, 1))
    second = raw(Store(str(tmp_path / "two")), small_recipe, "laion").make(shard_rows=2)
    assert first["content_hash"] == second["content_hash"]


def test_a_damaged_shard_is_read_anew(store: Store, small_recipe: Recipe) -> None:
    before = raw(store, small_recipe).make()
    [(_, parts)] = raw(store, small_recipe).files()
    folder, [shard] = parts["captions"]
    Path(folder.path, shard.name).write_bytes(b"")
    assert raw(store, small_recipe).make() == before
    assert folder.read(shard.name).num_rows == 4


def test_an_unreadable_file_is_an_error_and_keeps_what_others_gave(
    store: Store, small_recipe: Recipe, source_files: Path
) -> None:
    (source_files / "laion.parquet").write_bytes(b"PAR1 torn")
    raw(store, small_recipe).make()
    with pytest.raises(SourceError, match=r"laion\.parquet"):
        raw(store, small_recipe, "laion").make()
    assert raw(store, small_recipe).manifest["rows"] == 4


def test_a_file_that_changes_while_it_is_read_is_an_error(
    store: Store, small_recipe: Recipe, source_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = judging.read

    def meanwhile(source, file):
        yield from original(source, file)
        with (source_files / "cc.tsv").open("ab") as growing:
            growing.write(b"one more\thttps://example.com\n")

    monkeypatch.setattr(judging, "read", meanwhile)
    with pytest.raises(SourceError, match=r"cc\.tsv changed while it was read: materialize again"):
        raw(store, small_recipe).make()
    assert raw(store, small_recipe).find() is None


def test_a_missing_stage_says_what_to_do(store: Store, small_recipe: Recipe) -> None:
    with pytest.raises(NotMaterialized, match=r"raw_captions of 'cc' is not in .*: materialize raw_captions first"):
        raw(store, small_recipe).manifest  # noqa: B018


def test_progress_counts_files_and_names_the_one_that_is_read(store: Store, small_recipe: Recipe) -> None:
    told: list[tuple[str, int, int]] = []
    raw(store, small_recipe).make(lambda *said: told.append(said))
    assert told == [
        ("files: cc.tsv", 0, 1),
        ("files: cc.tsv, 6 rows", 0, 1),
        ("files", 1, 1),
    ]


def test_a_persons_own_csv_becomes_captions(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    (source_files / "mine.csv").write_bytes(b'id,title\n1,"a ball, red"\n2,\n')
    source = {"name": "mine", "format": "csv", "files": ["mine.csv"], "columns": {"text": "title", "uid": "id"}}
    recipe = edited(small_recipe, {"sources": [source]})
    manifest = raw(store, recipe, "mine").make()
    assert (manifest["rows"], manifest["reasons"]) == (1, {"caption is empty": 1})
    assert rows(raw(store, recipe, "mine")) == [("mine.csv", 0, "a ball, red")]
