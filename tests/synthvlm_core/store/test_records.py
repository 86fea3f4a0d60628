"""Tables change, stored shards stay: older ones are read, newer ones refused, and what is stored today can be read
tomorrow.

tests/fixtures/shards_v1 holds twelve rows of each table as the code before `parts` wrote them, and rows.json what they
say (bytes as SHA-256). Whoever changes a table makes these pass: with a nullable column, or with a version and a step.
"""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synthvlm_core.store import records
from synthvlm_core.store.objects import Store
from synthvlm_core.store.records import Column, NewerTable, Table
from synthvlm_core.store.shards import DamagedShard, Folder

SHARDS = Path(__file__).parents[2] / "fixtures" / "shards_v1"
SAID = json.loads((SHARDS / "rows.json").read_text())
TABLES = {
    table.name: table
    for table in (
        records.RAW_CAPTIONS,
        records.QUARANTINE,
        records.TEXT_STATISTICS,
        records.PERPLEXITY,
        records.JUDGE,
        records.FILTERED_CAPTIONS,
        records.REJECTED,
        records.SYNTHETIC_IMAGES,
    )
}


def plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    return {name: plain(cell) for name, cell in value.items()} if isinstance(value, dict) else value


@pytest.mark.parametrize("name", SAID)
def test_shards_of_the_first_version_are_read(name: str) -> None:
    table = TABLES[name]
    folder = Folder(Store(str(SHARDS)), table, str(SHARDS / name))
    rows = folder.read(SAID[name]["shard"])
    assert rows.schema.equals(table.schema, check_metadata=True)
    # a column that came later is null in them
    before = rows.select(list(SAID[name]["rows"][0]))
    assert [plain(row) for row in before.to_pylist()] == SAID[name]["rows"]


def test_pictures_of_the_first_version_are_found_without_reading_them() -> None:
    said = SAID["synthetic_images"]
    folder = Folder(Store(str(SHARDS)), records.SYNTHETIC_IMAGES, str(SHARDS / "synthetic_images"))
    rows = folder.narrow(said["shard"], ["image_id", "image.path", "health"]).to_pylist()
    assert [row["image_id"] for row in rows] == [row["image_id"] for row in said["rows"]]
    assert [row["path"] for row in rows] == [row["image"]["path"] for row in said["rows"]]


FIRST = Table(
    "heights",
    1,
    "id",
    (Column("id", pa.string(), "a name"), Column("feet", pa.float64(), "height in feet")),
)
WITH_NOTE = dataclasses.replace(FIRST, columns=(*FIRST.columns, Column("note", pa.string(), "a note", nullable=True)))
METRIC = Table(
    "heights",
    3,
    "id",
    (Column("id", pa.string(), "a name"), Column("metres", pa.float64(), "height in metres")),
    steps={
        1: lambda rows: rows.append_column("inches", pa.array([12 * feet for feet in rows["feet"].to_pylist()])),
        2: lambda rows: rows.append_column("metres", pa.array([0.0254 * inch for inch in rows["inches"].to_pylist()])),
    },
)
ROWS = pa.table({"id": ["a", "b"], "feet": [1.0, 2.0]})


@pytest.fixture
def stored(store: Store) -> Folder:
    """Two rows of the first version."""
    folder = Folder(store, FIRST, store.path("heights"))
    folder.put(ROWS)
    return folder


def as_table(folder: Folder, table: Table) -> Folder:
    return Folder(folder.store, table, folder.path)


def test_a_column_that_may_be_null_needs_no_step(stored: Folder) -> None:
    [(name, rows)] = as_table(stored, WITH_NOTE).sound()
    assert rows.schema.equals(WITH_NOTE.schema, check_metadata=True)
    assert rows.to_pylist() == [{"id": "a", "feet": 1.0, "note": None}, {"id": "b", "feet": 2.0, "note": None}]
    narrow = as_table(stored, WITH_NOTE).narrow(name, ["id", "note"])
    assert narrow["note"].null_count == 2


def test_a_column_that_is_gone_is_left_out(stored: Folder) -> None:
    narrower = dataclasses.replace(FIRST, columns=FIRST.columns[:1])
    [(_, rows)] = as_table(stored, narrower).sound()
    assert rows.to_pylist() == [{"id": "a"}, {"id": "b"}]


def test_an_older_version_goes_through_every_step(stored: Folder) -> None:
    folder = as_table(stored, METRIC)
    [(name, rows)] = folder.sound()
    assert rows.schema.equals(METRIC.schema, check_metadata=True)
    assert rows["metres"].to_pylist() == pytest.approx([0.3048, 0.6096])
    # a step needs a column that nobody asked for
    assert folder.narrow(name, ["metres"])["metres"].to_pylist() == pytest.approx([0.3048, 0.6096])
    again = folder.put(rows)  # what is written is of today
    assert folder.narrow(again.name, ["id", "metres"])["id"].to_pylist() == ["a", "b"]


def test_a_newer_version_is_refused_and_left_alone(stored: Folder, store: Store) -> None:
    newer = as_table(stored, METRIC)
    shard = newer.put(pa.table({"id": ["c"], "metres": [1.0]}))
    for read in (lambda: stored.read(shard.name), lambda: list(stored.sound()), lambda: stored.is_sound(shard.name)):
        with pytest.raises(NewerTable, match=rf"{shard.name} is heights of version 3.* up to 1: update synthvlm"):
            read()
    assert shard.name in stored.names()
    assert not (Path(stored.path) / "damaged").exists()


@pytest.mark.parametrize(
    "table",
    [
        dataclasses.replace(FIRST, name="weights"),
        dataclasses.replace(METRIC, steps={2: METRIC.steps[2]}),
        dataclasses.replace(FIRST, columns=(*FIRST.columns, Column("x", pa.string(), "never null"))),
        dataclasses.replace(FIRST, columns=(FIRST.columns[0], Column("feet", pa.binary(), "another type"))),
    ],
    ids=["another table", "no step", "a column missing", "another type"],
)
def test_what_is_not_of_the_table_is_damage(stored: Folder, table: Table) -> None:
    [name] = stored.names()
    with pytest.raises(DamagedShard, match=rf"{name} is no {table.name} .*materialize {table.name} again"):
        as_table(stored, table).read(name)


@pytest.mark.parametrize("version", [b"", b"-1", b"x", "²".encode(), b"\xff"])
def test_a_label_that_is_no_version_is_damage(stored: Folder, version: bytes) -> None:
    rows = ROWS.replace_schema_metadata({b"synthvlm.table": b"heights", b"synthvlm.version": version})
    with pytest.raises(pa.ArrowInvalid):
        FIRST.upgrade(rows, "here")


def test_every_column_says_what_it_means() -> None:
    for table in (*TABLES.values(), records.SCORES):
        assert len(set(table.names)) == len(table.names)
        assert all(table.description(name) for name in table.names)
        assert table.key is None or not table.columns[table.names.index(table.key)].nullable
        assert set(table.steps) <= set(range(1, table.version))
