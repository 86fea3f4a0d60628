import tempfile
from pathlib import Path

import pyarrow as pa
import pytest

from synthvlm_core.store import sql
from synthvlm_core.store.sql import Scratch


def numbers(*values: int) -> pa.Table:
    return pa.table({"n": list(values), "text": [f"number {value}" for value in values]})


def test_rows_come_in_by_name_and_go_out_in_tables_of_a_size() -> None:
    with sql.scratch() as scratch:
        found = scratch.load(pa.schema([("n", pa.int64())]), [numbers(5, 3), numbers(), numbers(4, 1, 2)])
        scratch.add(found, [pa.table({"other": ["x"], "n": [0]})])
        assert found.columns == ("n",)
        assert scratch.count(found) == 6
        parts = list(scratch.tables(f"select n from {found} order by n", rows=4))
        assert [part["n"].to_pylist() for part in parts] == [[0, 1, 2, 3], [4, 5]]
        assert scratch.row(f"select max(n), ? from {found}", ["é"]) == (5, "é")


@pytest.mark.parametrize("rows", [1, 7, 2048, 5000, 100_000])
def test_a_large_result_is_cut_evenly_and_in_its_order(rows: int) -> None:
    with sql.scratch() as scratch:
        parts = list(scratch.tables("select range as n from range(10_000) order by n", rows=rows))
        assert [part.num_rows for part in parts[:-1]] == [rows] * (len(parts) - 1)
        assert pa.concat_tables(parts)["n"].to_pylist() == list(range(10_000))


def test_no_rows_are_no_table() -> None:
    with sql.scratch() as scratch:
        empty = scratch.create(numbers())
        assert list(scratch.tables(f"select * from {empty}")) == []
        assert scratch.count(empty) == 0


def test_relations_are_told_apart_and_given_back() -> None:
    with sql.scratch() as scratch:
        one, other = scratch.create(numbers(1)), scratch.create("select ? as n", [2])
        assert str(one) != str(other)
        assert scratch.rows(f"select n from {one} union all select n from {other} order by n") == [(1,), (2,)]
        scratch.drop(one)
        with pytest.raises(Exception, match=one.name):
            scratch.count(one)


def test_a_result_may_be_read_while_others_are_made() -> None:
    """A stage writes shards from one query and asks others meanwhile."""
    with sql.scratch() as scratch:
        found = scratch.create("select range as n from range(1000)")
        seen = 0
        for part in scratch.tables(f"select n from {found} order by n", rows=100):
            seen += scratch.count(scratch.create(part))
        assert seen == 1000


def folders() -> list[Path]:
    return list(Path(tempfile.gettempdir()).glob("synthvlm-*"))


def spilled(scratch: Scratch) -> Path:
    return Path(scratch.row("select current_setting('temp_directory')")[0]).parent


def test_the_database_is_gone_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with sql.scratch() as scratch:
        folder = spilled(scratch)
        assert folder.parent == tmp_path
    assert not folder.exists()
    with pytest.raises(RuntimeError, match="on the way"), sql.scratch():
        raise RuntimeError("on the way")
    assert folders() == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    left = tmp_path / "synthvlm-scratch-abc"
    left.mkdir()
    (left / "spill").write_bytes(b"x")
    left.with_name(f"{left.name}.lock").touch()
    with sql.scratch() as kept, sql.scratch():
        assert not left.exists()
        assert spilled(kept).exists()


@pytest.mark.parametrize("value", [0.1, 1e-300, 5500.0, 0.16534802, -0.0, 1 / 3])
def test_a_number_in_a_query_is_the_number(value: float) -> None:
    with sql.scratch() as scratch:
        assert scratch.row(f"select {sql.number(value)}")[0] == value
