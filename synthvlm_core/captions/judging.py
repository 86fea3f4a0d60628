"""Rows of a file in, raw captions and quarantine out: what every row becomes.

Belongs here: judging rows, a column at a time. Does not belong here: the published formats (readers/, one file each),
finding files (files.py), the rules of the paper (rules/). Nothing here ever requests a url found in the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core import hashing
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import opening, sniffing
from synthvlm_core.captions.readers.rows import CONTENT_BYTES, MAX_CELL_BYTES
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable
from synthvlm_core.store.records import QUARANTINE, RAW_CAPTIONS

BATCH_ROWS = 50_000


@dataclass(frozen=True)
class Batch:
    """Some consecutive rows of a file, each in exactly one of two tables."""

    captions: pa.Table
    quarantined: pa.Table
    rows: int
    in_file: int | None
    """How many rows the file holds up to here by other means than reading them, None if nothing tells."""
    unused: tuple[str, ...]
    """What the file holds beside rows, in words."""


def read(source: Source, file: InputFile, *, batch_rows: int = BATCH_ROWS) -> Iterator[Batch]:
    """All rows of a file in order, in batches of at most `batch_rows`.

    Raises:
        SourceError: when the file turns out to be unreadable, possibly after some batches: discard those.
    """
    first = 0
    for rows in _named(file, source.read(file, batch_rows)):
        yield _judge(source, file, rows, first)
        first += len(rows.text)


def looks_like(file: InputFile) -> str | None:
    """What a file looks like by its beginning, for a person who named another format; None for Parquet and archives,
    which are what they are.

    Raises:
        SourceError: if it cannot be read any more.
    """
    try:
        start = opening.head(file.url) if opening.suffix(file.url) not in (".parquet", ".tar") else b""
    except Unreadable as error:
        raise SourceError(str(error)) from error
    return sniffing.form(start) if start else None


def _named(file: InputFile, reader: Iterator[Rows]) -> Iterator[Rows]:
    """What a reader hands over; whatever the bytes of the file made it stumble over becomes an error that names it."""
    try:
        yield from reader
    except Unreadable as error:
        raise SourceError(str(error)) from error
    except (ValueError, OverflowError, RecursionError) as error:
        what = ascii(str(error)[:500])
        raise SourceError(f"{file.url}: cannot be read: {type(error).__name__}: {what}. {opening.REMEDY}") from error


def _judge(source: Source, file: InputFile, rows: Rows, first: int) -> Batch:
    """Part good rows from bad ones, a column at a time."""
    count = len(rows.text)
    numbers = pa.array(np.arange(first, first + count, dtype=np.int64))
    text, not_utf8 = _decoded(rows.text)
    verdict = _Verdict(count, rows.problem)
    verdict.refuse(pc.is_null(rows.text), "no caption", rows.text)
    verdict.refuse(not_utf8, "caption is not UTF-8", rows.text)
    verdict.refuse(pc.match_substring(text, "\0"), "caption holds a NUL byte", rows.text)
    length = pc.utf8_length(text)
    verdict.refuse(
        pc.greater(length, source.max_characters),
        f"caption longer than {source.max_characters} characters",
        rows.text,
    )
    verdict.refuse(pc.or_(pc.equal(length, 0), pc.utf8_is_space(text)), "caption is empty", rows.text)
    beside = {}
    for label, cells in (("image url", rows.url), ("image id", rows.uid)):
        raw = pa.nulls(count, pa.large_binary()) if cells is None else cells
        decoded, not_utf8 = _decoded(raw)
        verdict.refuse(not_utf8, f"{label} is not UTF-8", raw)
        verdict.refuse(pc.match_substring(decoded, "\0"), f"{label} holds a NUL byte", raw)
        verdict.refuse(pc.greater(pc.binary_length(raw), MAX_CELL_BYTES), f"{label} longer than {MAX_CELL_BYTES}", raw)
        beside[label] = decoded
    similarity = pa.nulls(count, pa.float64()) if rows.similarity is None else rows.similarity
    good = verdict.good
    kept = [
        column if good is None else column.filter(good)
        for column in (text, beside["image url"], beside["image id"], similarity, numbers)
    ]
    many = len(kept[0])
    columns = [
        hashing.caption_ids(source.name, kept[0]),
        _constant(source.name, many),
        kept[0],
        _constant(source.origin, many),
        *kept[1:4],
        _constant(file.name, many),
        kept[4],
    ]
    captions = _table(columns, RAW_CAPTIONS.schema)
    quarantined = _quarantined(source, file, numbers, verdict, rows.raw)
    return Batch(captions, quarantined, count, rows.in_file, rows.unused)


class _Verdict:
    """For every row the first reason to refuse it, and the bytes that show it."""

    def __init__(self, count: int, problem: pa.Array | None) -> None:
        self.reason = pa.nulls(count, pa.string()) if problem is None else problem
        self._shown: dict[str, pa.Array] = {}

    def refuse(self, mask: pa.Array | None, reason: str, cells: pa.Array) -> None:
        """Note a reason where the mask is true and no earlier reason stands."""
        if mask is not None and pc.any(mask).as_py():
            self.reason = pc.if_else(pc.and_(mask.fill_null(False), self.reason.is_null()), reason, self.reason)
            self._shown[reason] = cells

    @property
    def good(self) -> pa.Array | None:
        """Mask of the rows without a reason, None if that is all of them."""
        return self.reason.is_null() if self.reason.null_count < len(self.reason) else None

    def shown(self, row: int) -> bytes:
        """The cell that the reason is about."""
        return self._shown[self.reason[row].as_py()][row].as_py() or b""


def _quarantined(
    source: Source, file: InputFile, numbers: pa.Array, verdict: _Verdict, raw: pa.Array | None
) -> pa.Table:
    bad = pc.indices_nonzero(verdict.reason.is_valid())
    if raw is None:
        content = [verdict.shown(row)[:CONTENT_BYTES] for row in bad.to_pylist()]
    else:
        content = [cell[:CONTENT_BYTES] for cell in raw.take(bad).to_pylist()]
    columns = [
        _constant(source.name, len(bad)),
        _constant(file.name, len(bad)),
        numbers.take(bad),
        verdict.reason.take(bad),
        pa.array(content, pa.binary()),
    ]
    return _table(columns, QUARANTINE.schema)


def _decoded(cells: pa.Array) -> tuple[pa.Array, pa.Array | None]:
    """Bytes as text, null where they are not UTF-8, and where that is (None: nowhere)."""
    try:
        return cells.cast(pa.large_string()), None
    except pa.ArrowInvalid:  # somewhere in here: now look at each
        values = cells.to_pylist()
        bad = [cell is not None and not _is_utf8(cell) for cell in values]
        # built anew: a null made by masking keeps its bytes below it, and some kernels stumble over them
        text = [None if wrong else cell for cell, wrong in zip(values, bad, strict=True)]
        return pa.array(text, pa.large_binary()).cast(pa.large_string()), pa.array(bad, pa.bool_())


def _is_utf8(cell: bytes) -> bool:
    try:
        cell.decode()
    except UnicodeDecodeError:
        return False
    return True


def _constant(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _table(columns: Sequence[pa.Array], schema: pa.Schema) -> pa.Table:
    arrays = [column.cast(field.type) for column, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
