"""DataComp with BLIP-2 captions: captions keyed by uid, joined to the urls and scores of the published metadata.

Belongs here: the join. Does not belong here: single Parquet files (parquet.py). The captions themselves never pass
through the database: it answers, for each row number, which url belongs to it. All it holds may spill to disk.

Every captions file is a pass over all metadata. To load the metadata once for all captions files would mean to keep
all of it, hundreds of gigabytes for DataComp-1B, on scratch disk, where now only the needed rows lie; and as every
file is stored by itself, a run that reads one new file would load it all the same. So few large captions files, as
they are published, are read faster than many small ones.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from synthvlm_core.captions.readers import parquet
from synthvlm_core.parts.section import Location
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable
from synthvlm_core.store import sql

_UID = ("uid",)
_SCORES = ("clip_b32_similarity_score", "clip_l14_similarity_score", "similarity")
_MEMORY = "1GB"
_SCAN_ROWS = 100_000
_WANTED = pa.schema([("row", pa.int64()), ("uid", pa.large_binary())])
_KNOWN = pa.schema(
    [
        ("position", pa.int64()),
        ("uid", pa.large_binary()),
        ("url", pa.large_binary()),
        ("similarity", pa.float64()),
    ]
)

# Of metadata far larger than memory only what these captions need is kept; of a uid listed twice the first
# counts, so that it cannot multiply rows. The result lies in row order, so a range of rows is a few blocks.
_JOIN = """
CREATE TABLE first AS SELECT uid, min(position) AS position FROM found GROUP BY uid;
CREATE TABLE joined AS
SELECT wanted.row, found.url, found.similarity
FROM wanted LEFT JOIN first ON wanted.uid = first.uid LEFT JOIN found ON first.position = found.position
ORDER BY wanted.row
"""


class DataComp(Source):
    """Parquet files of uid and BLIP-2 caption, and the published metadata with uid and url."""

    format: Literal["datacomp_blip2"]
    metadata_files: Annotated[tuple[str, ...], Field(min_length=1), Location("files")]
    """Parquet files with uid and url, all of them for each captions file."""

    @property
    def beside(self) -> tuple[str, ...]:
        return self.metadata_files

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        yield from read(file.url, file.companions, max_characters=self.max_characters, batch_rows=batch_rows)


def read(url: str, metadata: Sequence[str], *, max_characters: int, batch_rows: int) -> Iterator[Rows]:
    """Rows of a captions file in its own order; a uid that the metadata lack keeps its caption, without url."""
    with parquet.opened_parquet(url) as file, sql.scratch(_MEMORY) as scratch:
        database = scratch.connection
        uid, text = parquet.needed(url, file, _UID), _caption_column(url, file)
        _create(database, "wanted", _WANTED, _wanted(url, file, uid), "SELECT * FROM stream")
        known = "SELECT * FROM stream WHERE uid IN (SELECT uid FROM wanted)"
        _create(database, "found", _KNOWN, _known(metadata), known)
        database.execute(_JOIN)
        start = 0
        columns = [uid, text]
        for batch in parquet.batches(url, file, columns=columns, max_characters=max_characters, batch_rows=batch_rows):
            stop = start + batch.num_rows
            query = "SELECT url, similarity FROM joined WHERE row >= ? AND row < ? ORDER BY row"
            joined = database.sql(query, params=[start, stop]).to_arrow_table().combine_chunks()
            start = stop
            yield Rows(
                text=parquet.cells(url, batch, text),
                url=joined["url"].chunk(0).cast(pa.large_binary()),
                uid=parquet.cells(url, batch, uid),
                similarity=joined["similarity"].chunk(0),
                in_file=file.metadata.num_rows,
                unused=parquet.unused(file, columns),
            )


def _wanted(url: str, file: pq.ParquetFile, uid: str) -> Iterator[pa.RecordBatch]:
    start = 0
    for batch in parquet.batches(url, file, columns=[uid], batch_rows=_SCAN_ROWS):
        rows = pa.array(range(start, start + batch.num_rows), pa.int64())
        start += batch.num_rows
        yield pa.record_batch([rows, parquet.cells(url, batch, uid)], schema=_WANTED)


def _known(metadata: Sequence[str]) -> Iterator[pa.RecordBatch]:
    """All metadata, numbered through."""
    start = 0
    for url in metadata:
        with parquet.opened_parquet(url) as file:
            uid, address = (parquet.needed(url, file, (name,)) for name in ("uid", "url"))
            score = parquet.find(file, _SCORES)
            columns = [uid, address, *([score] if score else [])]
            for batch in parquet.batches(url, file, columns=columns, batch_rows=_SCAN_ROWS):
                numbered = pa.array(range(start, start + batch.num_rows), pa.int64())
                start += batch.num_rows
                similarity = parquet.numbers(url, batch, score) if score else pa.nulls(batch.num_rows, pa.float64())
                known = [numbered, *(parquet.cells(url, batch, name) for name in (uid, address)), similarity]
                yield pa.record_batch(known, schema=_KNOWN)


def _caption_column(url: str, file: pq.ParquetFile) -> str:
    others = [f.name for f in file.schema_arrow if f.name.lower() != "uid" and parquet.holds_text(f.type)]
    named = [name for name in others if "caption" in name.lower()]
    for candidates in (others, named):
        if len(candidates) == 1:
            return str(candidates[0])
    raise Unreadable(
        url,
        f"needs uid and exactly one caption column, has {', '.join(file.schema_arrow.names)}",
        "Keep one text column beside uid, or one with 'caption' in its name",
    )


def _create(
    database: duckdb.DuckDBPyConnection,
    table: str,
    schema: pa.Schema,
    batches: Iterator[pa.RecordBatch],
    query: str,
) -> None:
    """Fill a table from a stream of batches, which the database pulls while it works."""
    broken: list[Exception] = []

    def remembered() -> Iterator[pa.RecordBatch]:
        try:
            yield from batches
        except (Unreadable, ValueError, OverflowError) as error:  # the database would pass on its text, not its type
            broken.append(error)
            raise

    database.register("stream", pa.RecordBatchReader.from_batches(schema, remembered()))
    try:
        database.execute(f"CREATE TABLE {table} AS {query}")
    except duckdb.Error as error:
        raise (broken[0] if broken else error) from error
    database.unregister("stream")
