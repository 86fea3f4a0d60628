"""The set as Hugging Face Parquet, `datasets.load_dataset(folder)` shows its pictures: the set's own table.

Belongs here: the Parquet files and the features that `datasets` reads from them. Does not belong here: which pairs
are released (released.py), the card (card.py).

Every release has this format, whether the recipe names it or not: training, checks and the other formats read its
rows.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core.errors import Mendable
from synthvlm_core.parts.format import Format, Pair, SetContext, Writer
from synthvlm_core.store.records import Table

ROWS_PER_FILE = 5_000
FILE_BYTES = 200_000_000
"""Most pictures in a file by their mean size: a file is built, put and read whole, and lies in memory a few times."""
ROWS_PER_GROUP = 100
"""The viewer and random access read one row group at a time: keep it at some ten megabytes."""
BATCH_ROWS = 100
"""Rows with pictures that are handed over at once."""

_KINDS = {pa.string(): "string", pa.int64(): "int64", pa.int32(): "int32", pa.float64(): "float64"}


class HuggingFace(Format):
    """Parquet files with pictures and all columns, ranks in order."""

    format: Literal["huggingface"]
    version: ClassVar[int] = 1
    folder: ClassVar[str] = "data"
    explained: ClassVar[str] = "Parquet with all columns, pictures among them, for `datasets.load_dataset`."

    def writer(self, put: Callable[[str, bytes], None], context: SetContext) -> Writer:
        return _Files(put, context)

    def pairs(self, get: Callable[[str], bytes], names: list[str], context: SetContext) -> Iterator[Pair]:
        for name in sorted(names):
            for rows in read(get(name), context.table, name):
                for row in rows.to_pylist():
                    yield self.pair(row, context)

    def pair(self, row: dict[str, Any], context: SetContext) -> Pair:
        rest = {name: value for name, value in row.items() if name not in ("image_id", "text", "image")}
        picture = hashlib.sha256(row["image"]["bytes"]).hexdigest()
        return Pair(row["image_id"], row["text"], picture, json.dumps(rest, sort_keys=True))


class _Files(Writer):
    """Cuts the rows into files of about equal size."""

    def __init__(self, put: Callable[[str, bytes], None], context: SetContext) -> None:
        self._put, self._table = put, context.table
        self._rows = context.rows_per_file(ROWS_PER_FILE, FILE_BYTES)
        self._total = -(-context.rows // self._rows)
        self._held: list[pa.Table] = []
        self._count = self._written = 0

    def add(self, rows: pa.Table) -> None:
        self._held.append(rows)
        self._count += rows.num_rows
        while self._count >= self._rows:
            self._write(self._rows)

    def close(self) -> None:
        if self._count:
            self._write(self._count)

    def _write(self, rows: int) -> None:
        whole = pa.concat_tables(self._held)
        self._held, self._count = [whole.slice(rows)], whole.num_rows - rows
        name = f"train-{self._written:05d}-of-{self._total:05d}.parquet"
        self._put(name, encode(whole.slice(0, rows), self._table))
        self._written += 1


def schema(table: Table) -> pa.Schema:
    """The released columns with the features that make `image` a picture.

    Nullable, unlike the record type: `datasets` ignores the features of a field that is not.
    """
    features = {
        column.name: {"_type": "Image"} if column.name == "image" else {"dtype": _KINDS[column.type], "_type": "Value"}
        for column in table.columns
    }
    metadata = {**table.schema.metadata, "huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([field.with_nullable(True) for field in table.schema], metadata)


def encode(rows: pa.Table, table: Table) -> bytes:
    """One Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows.cast(schema(table)), buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return bytes(buffer.getvalue())


def read(data: bytes, table: Table, place: str, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """The rows of a file in the columns of the set's table, at most `BATCH_ROWS` at a time.

    Args:
        place: where the bytes were read, for messages.
        columns: the columns wanted, None for all.

    Raises:
        NewerTable: if a later version of this software wrote it.
        ValueError: naming the file, if it is no such file.
    """
    try:
        file = pq.ParquetFile(pa.BufferReader(data))
        for batch in file.iter_batches(BATCH_ROWS, columns=None if columns is None else list(columns)):
            rows = table.upgrade(pa.Table.from_batches([batch], batch.schema), place, only=columns)
            yield rows if columns is None else rows.select(list(columns))
    except Mendable:
        raise
    except (OSError, KeyError, ValueError) as error:  # Arrow's errors, and its ValueError for a null where none may be
        raise ValueError(f"{place} is no {table.name} with the scores of this recipe ({error})") from error
