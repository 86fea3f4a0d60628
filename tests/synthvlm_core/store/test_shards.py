import itertools
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import hashing
from synthvlm_core.store import records, shards
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import DamagedShard, Folder, Shard, Writer

ROWS = pa.table(
    {
        "caption_id": [f"{i:032x}" for i in range(100)],
        **{column.name: [i / 100 for i in range(100)] for column in records.TEXT_STATISTICS.columns[1:]},
    }
)


@pytest.fixture
def folder(store: Store) -> Folder:
    return Folder(store, records.TEXT_STATISTICS, store.path("measured"))


def test_rows_come_back(any_store: Store) -> None:
    folder = Folder(any_store, records.TEXT_STATISTICS, any_store.path("measured"))
    shard = folder.put(ROWS)
    assert folder.read(shard.name).equals(ROWS.cast(records.TEXT_STATISTICS.schema))
    assert shard.rows == 100
    assert shard.size == len(any_store.get(f"{folder.path}/{shard.name}"))
    assert [part.num_rows for part in folder.tables([shard.name, shard.name])] == [100, 100]
    assert folder.read(shard.name, ["alnum_ratio"])["alnum_ratio"].equals(ROWS["alnum_ratio"])


def test_equal_rows_are_stored_once(folder: Folder) -> None:
    assert folder.put(ROWS) == folder.put(ROWS)
    assert len(folder.names()) == 1


def _parquet(table: pa.Table) -> bytes:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    return buffer.getvalue().to_pybytes()


@pytest.mark.parametrize("damage", ["truncated", "empty", "one bit", "other table", "gone"])
def test_damage_is_named_set_aside_and_redone(folder: Folder, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    shard = folder.put(ROWS)
    path = Path(folder.path, shard.name)
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(
            {
                "truncated": data[: len(data) // 2],
                "empty": b"",
                "one bit": data[:500] + bytes([data[500] ^ 1]) + data[501:],
                "other table": _parquet(pa.table({"x": [1]})),
            }[damage]
        )
    with pytest.raises(DamagedShard, match=shard.name):
        folder.read(shard.name)
    assert not folder.is_sound(shard.name)
    assert list(folder.sound()) == []
    if damage != "gone":
        assert shard.name in caplog.text
        assert (path.parent / "damaged" / shard.name).exists()
    assert folder.put(ROWS) == shard
    assert [name for name, _ in folder.sound(["caption_id"])] == [shard.name]
    assert folder.is_sound(shard.name)


def test_a_put_over_damage_repairs_it(folder: Folder) -> None:
    shard = folder.put(ROWS)
    Path(folder.path, shard.name).write_bytes(b"")
    assert folder.put(ROWS) == shard
    assert folder.read(shard.name).num_rows == 100


@given(cuts=st.lists(st.integers(0, 100), max_size=6), shard_rows=st.integers(1, 120))
def test_a_writer_cuts_shards_evenly(
    tmp_path_factory: pytest.TempPathFactory, cuts: list[int], shard_rows: int
) -> None:
    store = Store(str(tmp_path_factory.mktemp("store")))
    folder = Folder(store, records.TEXT_STATISTICS, store.path("measured"))
    writer = Writer(folder, shard_rows=shard_rows)
    edges = [0, *sorted(cuts), 100]
    for start, end in itertools.pairwise(edges):
        writer.add(ROWS.slice(start, end - start))
    found = writer.close()
    assert [shard.rows for shard in found[:-1]] == [shard_rows] * (len(found) - 1)
    assert pa.concat_tables(folder.read(shard.name) for shard in found).equals(ROWS.cast(folder.table.schema))
    assert shards.content_hash(found) == hashing.content_hash([ROWS])


def test_a_folder_without_manifest_is_not_complete(folder: Folder) -> None:
    found = {"measured": [folder.put(ROWS)]}
    folders = {"measured": folder}
    assert shards.sealed(folder.store, folder.path, folders) is None
    shards.seal(folder.store, folder.path, {"rows": 100}, found)
    manifest = shards.sealed(folder.store, folder.path, folders)
    assert manifest is not None
    assert manifest["rows"] == 100
    assert shards.shards_of(manifest, "measured") == found["measured"]


def test_a_damaged_folder_is_not_complete(folder: Folder) -> None:
    shard = folder.put(ROWS)
    shards.seal(folder.store, folder.path, {}, {"measured": [shard]})
    Path(folder.path, shard.name).write_bytes(b"")
    assert shards.sealed(folder.store, folder.path, {"measured": folder}) is None


@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"{}", b'{"shards": {"measured": [{"name": "x"}]}}'])
def test_a_manifest_that_is_none_is_named_and_not_complete(
    folder: Folder, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    folder.store.put(f"{folder.path}/{shards.MANIFEST}", damage)
    assert shards.sealed(folder.store, folder.path, {"measured": folder}) is None
    assert shards.MANIFEST in caplog.text


def test_undamaged_names_all_damage(folder: Folder) -> None:
    found = [folder.put(ROWS.slice(start, 10)) for start in (0, 10, 20, 30)]
    assert shards.undamaged([(folder, found)]).passed
    Path(folder.path, found[0].name).write_bytes(b"")
    Path(folder.path, found[1].name).unlink()
    miscounted = Shard(found[2].name, 11, found[2].size, found[2].content_hash)
    finding = shards.undamaged([(folder, [*found[:2], miscounted, found[3]])])
    assert not finding.passed
    assert finding.numbers == {"shards": 4, "damaged": 3}
    assert all(shard.name in finding.summary for shard in found[:3])
    assert "has 10 rows, its manifest says 11" in finding.summary


IMAGES = pa.table(
    {
        "image_id": [f"{i:032x}" for i in range(40)],
        "caption_id": ["c"] * 40,
        "source": ["s"] * 40,
        "text": ["t"] * 40,
        "k": pa.array([0] * 40, pa.int32()),
        "attempt": pa.array([0] * 40, pa.int32()),
        "seed": list(range(40)),
        "image": [{"bytes": bytes([i]) * 20_000, "path": f"{i}.png"} for i in range(39)] + [None],
        "width": pa.array([64] * 40, pa.int32()),
        "height": pa.array([64] * 40, pa.int32()),
        "prompt_tokens": pa.array([3] * 40, pa.int32()),
        "prompt_truncated": [False] * 40,
        "health": ["ok"] * 40,
    }
)


def test_small_columns_come_without_the_large_ones(any_store: Store) -> None:
    folder = Folder(any_store, records.SYNTHETIC_IMAGES, any_store.path("images"))
    shard = folder.put(IMAGES.cast(folder.table.schema), row_group_size=8)
    rows = folder.narrow(shard.name, ["image_id", "seed", "image.path"])
    assert rows.column_names == ["image_id", "seed", "path"]
    assert rows["image_id"].equals(IMAGES["image_id"])
    assert rows["path"].to_pylist() == [*(f"{i}.png" for i in range(39)), None]


def test_a_shard_that_cannot_be_read_narrowly_is_named(folder: Folder) -> None:
    shard = folder.put(ROWS)
    path = Path(folder.path, shard.name)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DamagedShard, match=rf"{shard.name} is not readable .*materialize text_statistics again"):
        folder.narrow(shard.name, ["caption_id"])
    path.unlink()
    with pytest.raises(DamagedShard, match=shard.name):
        folder.narrow(shard.name, ["caption_id"])
