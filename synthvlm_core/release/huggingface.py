"""The release as Hugging Face Parquet: `datasets.load_dataset(folder)` shows pictures.

Belongs here: the Parquet files and the features that `datasets` reads from them. Does not belong here: which pairs
are released, the card (card.py).
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core import records

ROWS_PER_FILE = 5_000
FILE_BYTES = 300_000_000
"""Most pictures in a file by their bytes: the store puts files whole."""
ROWS_PER_GROUP = 100
"""The viewer and random access read one row group at a time: keep it at some ten megabytes."""

_KINDS = {pa.string(): "string", pa.int64(): "int64", pa.int32(): "int32", pa.float64(): "float64"}


def rows_per_file(rows: int, size: int) -> int:
    """Rows in each file of a set, the last one aside, whose pictures have `size` bytes together."""
    return max(1, min(ROWS_PER_FILE, rows * FILE_BYTES // size))


def file_name(number: int, total: int) -> str:
    """The split and number of a file as the hub names them."""
    return f"train-{number:05d}-of-{total:05d}.parquet"


def schema() -> pa.Schema:
    """The released columns with the features that make `image` a picture.

    Nullable, unlike the record type: `datasets` ignores the features of a field that is not.
    """
    features = {
        column.name: {"_type": "Image"} if column.name == "image" else {"dtype": _KINDS[column.type], "_type": "Value"}
        for column in records.SYNTHVLM_100K.columns
    }
    plain = records.SYNTHVLM_100K.schema
    metadata = {**plain.metadata, "huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema([field.with_nullable(True) for field in plain], metadata)


def encode(rows: pa.Table) -> bytes:
    """One Parquet file."""
    buffer = pa.BufferOutputStream()
    pq.write_table(rows.cast(schema()), buffer, compression="zstd", row_group_size=ROWS_PER_GROUP)
    return bytes(buffer.getvalue())
