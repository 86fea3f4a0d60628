import hashlib
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import hashing
from synthvlm_core.hashing import ContentHash

ROWS = st.lists(
    st.tuples(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)))
)


def table(rows: list[tuple[str, str | None, int | None]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [(), (), ()]
    types = (pa.string(), pa.string(), pa.int64())
    return pa.table(
        {name: pa.array(list(column), kind) for name, column, kind in zip("abc", columns, types, strict=True)}
    )


def content(*tables: pa.Table) -> str:
    total = ContentHash()
    for one in tables:
        total.add_table(one)
    return total.hexdigest


@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows), st.integers(0, len(rows)))))
def test_order_and_sharding_do_not_show(case: tuple[list, list, int]) -> None:
    rows, shuffled, cut = case
    assert content(table(rows)) == content(table(shuffled[:cut]), table(shuffled[cut:]))


@given(ROWS, ROWS)
def test_other_rows_show(left: list, right: list) -> None:
    same = sorted(map(repr, left)) == sorted(map(repr, right))
    assert (content(table(left)) == content(table(right))) == same


def test_cells_do_not_run_together() -> None:
    assert content(table([("ab", "c", 1)])) != content(table([("a", "bc", 1)]))
    assert content(table([("a", None, 1)])) != content(table([("a", "", 1)]))
    assert content(table([("a", "b", None)])) != content(table([("a", "b", 0)]))


def test_column_names_show_and_column_order_does_not() -> None:
    one = table([("a", "b", 1)])
    assert content(one) == content(one.select(["c", "a", "b"]))
    assert content(one) != content(one.rename_columns(["b", "a", "c"]))


IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def test_an_image_struct_has_content() -> None:
    rows = [{"bytes": b"1", "path": "x"}, {"bytes": b"2", "path": "x"}, {"bytes": b"1", "path": "y"}, None]
    found = {content(pa.table({"image": pa.array([row], IMAGE)})) for row in rows}
    assert len(found) == 4
    sliced = pa.table({"image": pa.array(rows, IMAGE)}).slice(1, 1)
    assert content(sliced) == content(pa.table({"image": pa.array([rows[1]], IMAGE)}))


def test_a_missing_changed_or_doubled_row_shows() -> None:
    rows = [("a", "b", 1), ("c", None, 2), ("a", "b", 1)]
    others = [rows[:2], [*rows, rows[0]], [*rows, rows[1], rows[1]], [*rows[:2], ("a", "b", 3)], []]
    assert content(table(rows)) not in {content(table(other)) for other in others}
    assert content() == content(table([])) == "0" * 32


def test_a_new_column_that_is_null_everywhere_changes_nothing() -> None:
    before = table([("a", "b", 1), ("c", None, 2)])
    for kind in (pa.string(), pa.float64(), pa.binary(), pa.bool_(), IMAGE):
        assert content(before.append_column("later", pa.nulls(2, kind))) == content(before)
    assert content(before.append_column("later", pa.array([None, "x"]))) != content(before)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([3], pa.int32()), pa.array([3], pa.int64())),
        (pa.array([0.5], pa.float32()), pa.array([0.5], pa.float64())),
        (pa.array(["é"], pa.string()), pa.array(["é"], pa.large_string())),
        (pa.array([float("nan")]), pa.array([float("nan")])),
    ],
    ids=["sign of zero", "width of an integer", "width of a float", "width of offsets", "nan"],
)
def test_equal_values_have_equal_hashes(one: pa.Array, other: pa.Array) -> None:
    assert content(pa.table({"x": one})) == content(pa.table({"x": other}))


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.1, 0.1 + 2**-56, float("nan"), float("inf"), None]),
        pa.array(["1", "01", "1 ", "", None]),
        pa.array([b"", b"\0", None]),
        pa.array([True, False, None]),
    ],
)
def test_different_values_have_different_hashes(values: pa.Array) -> None:
    assert len({content(pa.table({"x": values.slice(n, 1)})) for n in range(len(values))}) == len(values)


def test_a_type_without_canonical_bytes_is_refused() -> None:
    with pytest.raises(TypeError, match="list"):
        content(pa.table({"x": [[1]]}))


VALUES: dict[str, Any] = {
    "text": (pa.string(), st.text(max_size=5)),
    "count": (pa.int32(), st.integers(-(2**31), 2**31 - 1)),
    "value": (pa.float64(), st.floats(allow_nan=False)),
    "flag": (pa.bool_(), st.booleans()),
    "image": (IMAGE, st.fixed_dictionaries({"bytes": st.binary(max_size=5), "path": st.text(max_size=5)})),
}


def reference(rows: list[dict[str, Any]]) -> str:
    """The docstring of `ContentHash`, word for word."""
    high = low = 0
    for row in rows:
        spelled = b""
        for name, cell in sorted(flat(row)):
            shown = shown_as(cell)
            spelled += f"{name}:{len(shown.encode())}:{shown}".encode()
        number = int.from_bytes(hashlib.md5(spelled).digest(), "little")
        high, low = (high + (number >> 64)) % 2**64, (low + number) % 2**64
    return f"{high:016x}{low:016x}"


def flat(row: dict[str, Any]) -> list[tuple[str, Any]]:
    cells = []
    for name, cell in row.items():
        inner = {f"{name}.{child}": value for child, value in cell.items()} if isinstance(cell, dict) else {name: cell}
        cells += [(name, value) for name, value in inner.items() if value is not None]
    return cells


def shown_as(cell: Any) -> str:
    if isinstance(cell, float):
        return str(struct.unpack("<q", struct.pack("<d", cell + 0.0))[0])
    if isinstance(cell, bytes):
        return hashlib.sha256(cell).hexdigest()
    return str(int(cell)) if isinstance(cell, bool) else str(cell)


@given(st.lists(st.fixed_dictionaries({name: st.none() | cells for name, (_, cells) in VALUES.items()}), max_size=5))
def test_the_hash_is_what_its_description_says(rows: list[dict[str, Any]]) -> None:
    schema = pa.schema([(name, kind) for name, (kind, _) in VALUES.items()])
    assert content(pa.Table.from_pylist(rows, schema)) == reference(rows)


def test_the_hash_of_stored_rows_stays() -> None:
    """Stored manifests hold such hashes: another value here means that every one of them is called changed."""
    rows = pa.table(
        {
            "image_id": ["00", "01"],
            "k": pa.array([0, 1], pa.int32()),
            "value": [0.25, None],
            "ok": [True, False],
            "image": pa.array([{"bytes": b"png", "path": "00.png"}, None], IMAGE),
        }
    )
    assert content(rows) == "e65621580f328a946f30fbe35ddde794"


@given(st.lists(st.tuples(st.integers(0, 300), st.none() | st.integers(0, 300)), min_size=1, max_size=200))
def test_rows_of_any_length_are_hashed_alike(sizes: list[tuple[int, int | None]]) -> None:
    """A row takes blocks of 64 bytes, and rows of different lengths are hashed side by side."""
    rows = [{"a": "a" * one, "b": None if other is None else "é" * other} for one, other in sizes]
    assert content(pa.Table.from_pylist(rows, pa.schema([("a", pa.string()), ("b", pa.string())]))) == reference(rows)


def test_more_rows_than_are_hashed_together_are_hashed() -> None:
    rows = [{"a": str(number), "b": number} for number in range(20_000)]
    assert content(pa.Table.from_pylist(rows)) == reference(rows)


def test_threads_do_not_meet() -> None:
    tables = [table([(f"row {n}", None, m) for m in range(2000)]) for n in range(8)]
    alone = [content(one) for one in tables]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(content, tables * 3)) == alone * 3


def test_a_caption_id_is_of_source_and_text() -> None:
    one, two = hashing.caption_ids("cc", pa.array(["a cat", "a dog"])).to_pylist()
    assert len(one) == 32
    assert one != two
    assert hashing.caption_ids("sbu", pa.array(["a cat"])).to_pylist() != [one]
    assert one == hashing.digest(b"cc", b"a cat")


@given(st.text(max_size=200), st.lists(st.text(), max_size=9), st.integers(0, 500))
def test_caption_ids_are_digests_of_any_text(source: str, texts: list[str], length: int) -> None:
    texts = [*texts, "é" * length, "x" * length]
    expected = [hashing.digest(source.encode(), text.encode()) for text in texts]
    assert hashing.caption_ids(source, pa.array(texts)).to_pylist() == expected
    assert hashing.caption_ids(source, pa.array(["", *texts])[1:]).to_pylist() == expected


def test_more_captions_than_are_hashed_together_have_ids() -> None:
    texts = [f"{number} balls" for number in range(20_000)]
    expected = [hashing.digest(b"here", text.encode()) for text in texts]
    assert hashing.caption_ids("here", pa.chunked_array([texts[:5], texts[5:]])).to_pylist() == expected


def test_json_order_does_not_matter_and_nan_is_refused() -> None:
    assert hashing.of_json({"a": 1, "b": [1, 2]}) == hashing.of_json({"b": [1, 2], "a": 1})
    with pytest.raises(ValueError, match="JSON"):
        hashing.of_json(float("nan"))
