"""Content hashes and the ids built from them.

Belongs here: every hash that ends up in a file name, a column or a data version. Does not belong here: what is
hashed (parts/section.py, the stages) or random numbers. docs/architecture.md has the five words for hashes.
"""

import atexit
import functools
import hashlib
import json
from collections.abc import Iterable
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

DIGEST_BYTES = 16


def digest(*parts: bytes) -> str:
    """128-bit BLAKE2b of length-prefixed parts as 32 hex characters, so that ("ab", "c") and ("a", "bc") differ."""
    hasher = hashlib.blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        hasher.update(len(part).to_bytes(8, "little"))
        hasher.update(part)
    return hasher.hexdigest()


def of_json(value: Any) -> str:
    """Digest of a JSON value, independent of key order.

    Raises:
        ValueError: if the value holds NaN or infinity, which have no single JSON spelling.
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return digest(text.encode())


def caption_ids(source: str, texts: Iterable[str]) -> list[str]:
    """Caption id of every raw text of one source: digest of (source, raw text)."""
    name = source.encode()
    prefix = hashlib.blake2b(len(name).to_bytes(8, "little") + name, digest_size=DIGEST_BYTES)
    ids = []
    for text in texts:
        hasher = prefix.copy()
        raw = text.encode()
        hasher.update(len(raw).to_bytes(8, "little"))
        hasher.update(raw)
        ids.append(hasher.hexdigest())
    return ids


class ContentHash:
    """Order-free hash of a multiset of rows: the sum of the rows' MD5 digests, each a little-endian number of 128 bits
    whose upper and lower half are summed by themselves modulo 2**64.

    A row is spelled as `<name>:<bytes>:<value>` for each column in the order of the names, nothing for a null: a
    column that is new and null everywhere changes no hash. Text is UTF-8, a number of any width its 64-bit integer in
    decimals (of a float the bits of the double, -0.0 as 0.0), a boolean 0 or 1, bytes their SHA-256 in hexadecimals, a
    struct its children as `<name>.<child>`. DuckDB computes it over columns.

    Sharding, interruption and arrival order cannot show in it; a missing, changed or doubled row does. It guards
    against accidents. Against somebody who forges rows at will a sum is not collision-resistant; the bytes of each
    shard are, through the SHA-256 in its name.
    """

    def __init__(self, high: int = 0, low: int = 0) -> None:
        self._high, self._low = high, low

    def add_table(self, table: pa.Table) -> None:
        """Add every row of a table. Column order does not matter, column names do."""
        if not table.num_rows:
            return
        columns: dict[str, pa.ChunkedArray] = {}
        spelled = []
        for name in sorted(table.column_names):
            for label, values in _cells(table[name], name):
                cell = f"c{len(columns)}"
                columns[cell] = values
                spelled.append(f"coalesce('{label}:' || strlen({cell}::varchar) || ':' || {cell}::varchar, '')")
        cursor = _database().cursor()
        cursor.register("rows", pa.table(columns))
        high, low = cursor.execute(
            "select sum((digest >> 64)::hugeint), sum((digest & 18446744073709551615::uhugeint)::hugeint)"
            f" from (select md5_number({' || '.join(spelled)}) as digest from rows)"
        ).fetchall()[0]
        cursor.close()
        self._add(int(high), int(low))

    def merge(self, other: "ContentHash | str") -> None:
        """Add the rows behind another content hash."""
        if isinstance(other, str):
            other = ContentHash(int(other[:16], 16), int(other[16:], 16))
        self._add(other._high, other._low)

    def _add(self, high: int, low: int) -> None:
        self._high, self._low = (self._high + high) % (1 << 64), (self._low + low) % (1 << 64)

    @property
    def hexdigest(self) -> str:
        return f"{self._high:016x}{self._low:016x}"


def content_hash(tables: Iterable[pa.Table]) -> str:
    """The content hash of some tables' rows together."""
    content = ContentHash()
    for table in tables:
        content.add_table(table)
    return content.hexdigest


def _cells(column: pa.ChunkedArray, name: str) -> list[tuple[str, pa.ChunkedArray]]:
    """A column as columns that DuckDB spells as `ContentHash` says, with a label for each."""
    kind = column.type
    if pa.types.is_struct(kind):
        children = [
            pa.chunked_array([chunk.flatten()[place] for chunk in column.chunks], kind.field(place).type)
            for place in range(kind.num_fields)
        ]
        return [
            cell for place, child in enumerate(children) for cell in _cells(child, f"{name}.{kind.field(place).name}")
        ]
    if pa.types.is_floating(kind):
        wide = pc.add(column.cast(pa.float64()), 0.0)  # -0.0 and 0.0 are equal, so their bits must be
        return [(name, pa.chunked_array([chunk.view(pa.int64()) for chunk in wide.chunks], pa.int64()))]
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [(name, column.cast(pa.int64()))]
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        digests = [None if cell is None else hashlib.sha256(cell).hexdigest() for cell in column.to_pylist()]
        return [(name, pa.chunked_array([pa.array(digests, pa.string())]))]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return [(name, column)]
    raise TypeError(f"no canonical bytes for Arrow type {kind}")


@functools.cache
def _database() -> duckdb.DuckDBPyConnection:
    """A database in memory that holds nothing; each user takes a cursor of its own."""
    atexit.register(_database.cache_clear)  # else DuckDB complains of leaks where the interpreter ends
    return duckdb.connect(config={"autoinstall_known_extensions": "false", "autoload_known_extensions": "false"})
