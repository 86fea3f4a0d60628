"""Parquet with a caption column: LAION in its spellings, and the Parquet that img2dataset writes beside its tars.

Belongs here: finding columns, bringing them to one type, and reading them within bounded memory. Does not belong
here: joins (datacomp.py).
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthvlm_core import lfs
from synthvlm_core.captions.readers import sniffing
from synthvlm_core.captions.readers.opening import blame, opened
from synthvlm_core.captions.readers.rows import GROUP_BYTES, MAX_CELL_BYTES, MAX_TOLD
from synthvlm_core.parts.source import Rows, Unreadable

TEXT = ("text", "caption")
URL = ("url",)
UID = ("sample_id", "hash", "key", "uid")
SIMILARITY = ("similarity",)
_DAMAGED = "The Parquet file is damaged or was cut short: download or write it again"
_REMEDY = "Correct the source's format, or get the file anew"
_MAGIC, _ENCRYPTED = b"PAR1", b"PARE"
_BUFFER = 4 << 20  # bytes of a column fetched at a time
_ROWS_AT_ONCE, _BYTES_AT_ONCE = 2048, 8 << 20  # decoded together, of one column
_MAX_UNPACKED, _MAX_RATIO = 64 << 20, 100  # of a column in a row group; beyond both it is no list of texts
_HALF_CHARACTER = re.compile(rb"[\xc0-\xff][\x80-\xbf]{0,3}\Z")


@contextmanager
def opened_parquet(url: str) -> Iterator[pq.ParquetFile]:
    """A Parquet file, its footer read."""
    with opened(url, unpack=False) as handle:
        with blame(url, _DAMAGED):
            start = handle.read(len(_MAGIC))
            if start and start not in (_MAGIC, _ENCRYPTED):
                start += handle.read(sniffing.HEAD)
                if start.startswith(lfs.MARK):
                    raise Unreadable(url, lfs.WHAT, f"Fetch it: {lfs.REMEDY}")
                looks = sniffing.form(start)
                raise Unreadable(url, f"is no Parquet file: it looks like {looks}", _REMEDY)
            handle.seek(0)
            file = pq.ParquetFile(handle, pre_buffer=False, buffer_size=_BUFFER)
        yield file


def read(url: str, *, max_characters: int, batch_rows: int) -> Iterator[Rows]:
    """Rows of a file with a caption column and perhaps url, id and similarity."""
    with opened_parquet(url) as file:
        text = needed(url, file, TEXT)
        address, uid, score = (find(file, names) for names in (URL, UID, SIMILARITY))
        columns = [name for name in (text, address, uid, score) if name is not None]
        for batch in batches(url, file, columns=columns, max_characters=max_characters, batch_rows=batch_rows):
            yield Rows(
                text=cells(url, batch, text),
                url=cells(url, batch, address) if address else None,
                uid=labels(url, batch, uid) if uid else None,
                similarity=numbers(url, batch, score) if score else None,
                in_file=file.metadata.num_rows,
                unused=unused(file, columns),
            )


def unused(file: pq.ParquetFile, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that nobody reads, in words."""
    others = [ascii(name)[1:-1][:60] for name in file.schema_arrow.names if name not in columns]
    more = [f"{len(others) - MAX_TOLD} more"] if len(others) > MAX_TOLD else []
    return (f"columns {', '.join(others[:MAX_TOLD] + more)}",) if others else ()


def find(file: pq.ParquetFile, names: Sequence[str]) -> str | None:
    """The file's spelling of the first of `names` that it has, in any case."""
    spelling = {name.lower(): name for name in reversed(file.schema_arrow.names)}
    return next((spelling[name] for name in names if name in spelling), None)


def needed(url: str, file: pq.ParquetFile, names: Sequence[str]) -> str:
    """Like `find`, for a column that must be there."""
    found = find(file, names)
    if found is None:
        raise Unreadable(
            url,
            f"has columns {', '.join(file.schema_arrow.names)} and none named {' or '.join(names)}",
            "Rename the column or correct the source's format in the recipe",
        )
    return found


def batches(
    url: str, file: pq.ParquetFile, *, columns: Sequence[str], batch_rows: int, max_characters: int = 0
) -> Iterator[pa.RecordBatch]:
    """Chosen columns of a file in its own order, text as bytes, in batches bounded in rows and in bytes.

    Cells too long to be a url, an id or a text of `max_characters` are cut, to a length that is still too long.
    """
    for name in columns:
        if file.schema_arrow.names.count(name) > 1:
            raise Unreadable(url, f"has more than one column {name}", "Keep one of them")
        kind = file.schema_arrow.types[file.schema_arrow.names.index(name)]
        if pa.types.is_nested(kind):  # one row of it could hold anything
            _refuse(url, name, kind, "text or numbers")
    limit = max(4 * max_characters, MAX_CELL_BYTES) + 8
    group: list[pa.RecordBatch] = []
    rows = held = 0
    for piece in _pieces(url, file, columns, batch_rows):
        if group and (rows + piece.num_rows > batch_rows or held >= GROUP_BYTES):
            yield pa.concat_batches(group)
            group, rows, held = [], 0, 0
        group.append(_cut(piece, limit))
        rows, held = rows + piece.num_rows, held + group[-1].nbytes
    if group:
        yield pa.concat_batches(group)


def _pieces(url: str, file: pq.ParquetFile, columns: Sequence[str], batch_rows: int) -> Iterator[pa.RecordBatch]:
    """Few rows at a time, because a file of some hundred bytes can state a long text a million times."""
    schema = file.schema_arrow
    texts = [name for name in columns if holds_text(schema.types[schema.names.index(name)])]
    with opened(url, unpack=False) as handle:
        with blame(url, _DAMAGED):
            words = pq.ParquetFile(
                handle, metadata=file.metadata, read_dictionary=texts, pre_buffer=False, buffer_size=_BUFFER
            )
        for group in range(file.num_row_groups):
            with blame(url, _DAMAGED):
                size = min(batch_rows, _rows_at_once(url, words, group, texts))
                iterator = file.iter_batches(size, row_groups=[group], columns=list(columns), use_threads=False)
            while True:
                with blame(url, _DAMAGED):
                    piece = next(iterator, None)
                if piece is None:
                    break
                yield piece


def _rows_at_once(url: str, words: pq.ParquetFile, group: int, texts: Sequence[str]) -> int:
    """How many rows of a row group cannot outgrow memory.

    Args:
        words: The file opened so that a column comes as its dictionary and numbers: one row then brings the whole
            dictionary, decoded once, and so the longest text that a row can repeat. Cells outside of a dictionary
            take the space in the file that its footer states.
    """
    stated = words.metadata.row_group(group)
    longest = 1
    for chunk in (stated.column(index) for index in range(stated.num_columns)):
        if chunk.path_in_schema in texts:
            unpacked, packed = chunk.total_uncompressed_size, chunk.total_compressed_size
            if unpacked > max(_MAX_UNPACKED, _MAX_RATIO * packed):
                what = f"column {chunk.path_in_schema} unpacks {packed} bytes to {unpacked}"
                raise Unreadable(url, what, "No list of captions does that: get the file anew from where it came")
            longest = max(longest, unpacked // max(1, stated.num_rows))
    first = next(words.iter_batches(1, row_groups=[group], columns=list(texts), use_threads=False), None)
    for column in () if first is None else first.columns:
        if pa.types.is_dictionary(column.type):
            longest = max(longest, pc.max(pc.binary_length(column.dictionary)).as_py() or 0)
    return max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // longest))


def _cut(piece: pa.RecordBatch, limit: int) -> pa.RecordBatch:
    """Text as bytes, no cell longer than `limit`: a longer one loses its end, at a whole character."""
    columns = [_cut_column(column, limit) if holds_text(column.type) else column for column in piece.columns]
    return pa.RecordBatch.from_arrays(columns, names=piece.schema.names)


def _cut_column(column: pa.Array, limit: int) -> pa.Array:
    rows = column.indices if pa.types.is_dictionary(column.type) else None
    cells = (column if rows is None else column.dictionary).cast(pa.large_binary())
    long = (pc.max(pc.binary_length(cells)).as_py() or 0) > limit
    if long:
        cells = pc.binary_slice(cells, 0, limit)
    if rows is not None:
        cells = cells.take(rows)
    if long:
        cells = pa.array([_whole(cell, limit) for cell in cells.to_pylist()], pa.large_binary())
    return cells


def _whole(cell: bytes | None, limit: int) -> bytes | None:
    if cell is None or len(cell) < limit:
        return cell
    return cell[:-4] + _HALF_CHARACTER.sub(b"", cell[-4:])


def cells(url: str, batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of strings as bytes: Arrow does not check that strings in Parquet are UTF-8."""
    column = _column(batch, name)
    if not holds_text(column.type):
        _refuse(url, name, column.type, "text")
    return column


def labels(url: str, batch: pa.RecordBatch, name: str) -> pa.Array:
    """An id column as bytes; LAION's ids are whole numbers, stored as integers or as floats."""
    column = _column(batch, name)
    if holds_text(column.type):
        return column
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
        whole = pc.all(pc.equal(pc.floor(column), column)).as_py()
        column = column.cast(pa.int64()) if whole is not False else column
    elif not pa.types.is_integer(column.type):
        _refuse(url, name, column.type, "text or whole numbers")
    return column.cast(pa.large_string()).cast(pa.large_binary())


def numbers(url: str, batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column of numbers as float64, NaN as null."""
    column = _column(batch, name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_null(column.type)):
        _refuse(url, name, column.type, "numbers")
    column = column.cast(pa.float64())
    return pc.if_else(pc.is_nan(column), None, column)


def holds_text(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold captions, urls or ids."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    checks = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_null)
    return any(check(kind) for check in (*checks, pa.types.is_binary, pa.types.is_large_binary))


def _column(batch: pa.RecordBatch, name: str) -> pa.Array:
    return batch.column(batch.schema.names.index(name))


def _refuse(url: str, name: str, kind: pa.DataType, wanted: str) -> None:
    raise Unreadable(url, f"column {name} holds {kind}, not {wanted}", "Convert the column or correct the recipe")
