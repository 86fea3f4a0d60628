"""Comma- or otherwise separated values with a header line, as spreadsheets and pandas write them (RFC 4180).

Belongs here: cutting a file into records and records into cells. Does not belong here: lines (opening.py), judging
captions (judging.py).

A quote counts where a cell begins, and within a quoted cell; elsewhere it is a letter like others. Of a record over
several lines that is not well formed only the first line is a bad row, and reading goes on with the next: one stray
quote cannot swallow the rest of a file.
"""

from collections import deque
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from synthvlm_core.captions.readers.columns import Columns, as_number
from synthvlm_core.captions.readers.opening import Overlong, lines
from synthvlm_core.captions.readers.rows import MAX_TOLD, About, Row, grouped, longest_text
from synthvlm_core.parts.section import Absent
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable


class Delimited(Source):
    """A header line, then one record per caption; `columns` says which column is what. Cells may be quoted."""

    format: Literal["csv"]
    columns: Columns
    delimiter: Annotated[str, Field(min_length=1, max_length=1, pattern='[^"\r\n]'), Absent(",")] = ","

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        about = About()
        yield from grouped(self._rows(file.url, longest_text(self.max_characters), about), batch_rows, about)

    def _rows(self, url: str, limit: int, about: About) -> Iterator[Row]:
        delimiter = self.delimiter.encode()
        counted = About()
        records = _records(url, limit, delimiter, counted)
        header = next(records, None)
        if header is None or header.cells is None:
            what = "is empty" if header is None else f"its first line is no header: {header.problem}"
            raise Unreadable(url, what, "Write the columns' names into the first line")
        places = self._places(url, header.cells)
        about.unused = _unused(header.cells, places)
        further = header.lines  # of the file's lines those that begin no row
        for record in records:
            further += record.lines - 1
            about.in_file = (counted.in_file or 0) - further
            if record.cells is None:
                yield Row(None, problem=record.problem, raw=record.raw)
                continue
            found = {what: record.cells[place] for what, place in places.items()}
            yield Row(
                found["text"],
                url=found.get("url") or None,
                uid=found.get("uid") or None,
                similarity=as_number(found.get("similarity")),
                raw=record.raw,
            )

    def _places(self, url: str, header: list[bytes]) -> dict[str, int]:
        """Where in a record the mapped columns stand."""
        names = [cell.decode(errors="replace") for cell in header]
        for what, name in self.columns.named().items():
            if names.count(name) != 1:
                there = ", ".join(repr(cell) for cell in names[:20])
                how_often = "no" if name not in names else "more than one"
                raise Unreadable(
                    url,
                    f"its header has {how_often} column {name!r}; it has {there}",
                    f"Correct columns.{what} of the source, or its delimiter, which is {self.delimiter!r}",
                )
        return {what: names.index(name) for what, name in self.columns.named().items()}


def _unused(header: list[bytes], places: dict[str, int]) -> list[str]:
    others = [cell.decode(errors="replace") for place, cell in enumerate(header) if place not in places.values()]
    more = [f"{len(others) - MAX_TOLD} more"] if len(others) > MAX_TOLD else []
    return [f"columns {', '.join([ascii(name)[1:-1][:60] for name in others[:MAX_TOLD]] + more)}"] if others else []


class _Record(NamedTuple):
    """One record: its cells, or what is wrong with it."""

    raw: bytes
    cells: list[bytes] | None
    problem: str | None = None
    lines: int = 1


def _records(url: str, limit: int, delimiter: bytes, about: About) -> Iterator[_Record]:
    """Records, all of as many cells as the first; quoted cells may hold line breaks."""
    coming, again = lines(url, limit, returns=True, about=about), deque[bytes]()
    held: list[bytes] = []
    size, width = 0, None
    quoted = False
    while True:
        line = again.popleft() if again else next(coming, None)
        if held and (line is None or type(line) is Overlong or size + len(line) > limit):
            record = _Record(held[0], None, "a quote that does not close")
            again.extendleft(reversed(held[1:] if line is None else [*held[1:], line]))
        elif line is None:
            return
        elif type(line) is Overlong:
            record = _Record(line, None, f"line longer than {limit} bytes")
        else:
            held.append(line)
            size += len(line) + 1
            quoted = _quoted_at_end(line, delimiter, quoted)
            if quoted:
                continue
            record = _parsed(b"\n".join(held), delimiter, width)._replace(lines=len(held))
            if record.cells is None and len(held) > 1:
                again.extendleft(reversed(held[1:]))
                record = _Record(held[0], None, "a quote that does not close")
        width = width or len(record.cells or ()) or None
        yield record._replace(raw=record.raw.removesuffix(b"\r"))
        held, size, quoted = [], 0, False


def _quoted_at_end(line: bytes, delimiter: bytes, quoted: bool) -> bool:
    """Whether a line ends within a quoted cell, `quoted` whether it begins in one. Looks at each byte once."""
    place = 0
    while True:
        if quoted:
            place = line.find(b'"', place)
            if place < 0:
                return True
            if line.startswith(b'""', place):
                place += 2
                continue
            quoted = False
        elif line.startswith(b'"', place):
            quoted = True
            place += 1
            continue
        place = line.find(delimiter, place)
        if place < 0:
            return False
        place += len(delimiter)


def _parsed(record: bytes, delimiter: bytes, width: int | None) -> _Record:
    """Cut a record into cells, of which there must be `width`, if that is known."""
    record = record.removesuffix(b"\r")
    cells = _cells(record, delimiter)
    if not record:
        return _Record(record, None, "empty line")
    if cells is None:
        return _Record(record, None, "text after the closing quote of a cell")
    if width is not None and len(cells) != width:
        return _Record(record, None, f"{len(cells)} cells, the header has {width}")
    return _Record(record, cells)


def _cells(record: bytes, delimiter: bytes) -> list[bytes] | None:
    """The cells of a record all of whose quotes close, None if it is not well formed."""
    if b'"' not in record:
        return record.split(delimiter)
    cells: list[bytes] = []
    place = 0
    while True:
        if record.startswith(b'"', place):
            end = record.find(b'"', place + 1)
            while record.startswith(b'""', end):
                end = record.find(b'"', end + 2)
            cells.append(record[place + 1 : end].replace(b'""', b'"'))
            end += 1
        else:
            found = record.find(delimiter, place)
            end = len(record) if found < 0 else found
            cells.append(record[place:end])
        if end == len(record):
            return cells
        if not record.startswith(delimiter, end):
            return None
        place = end + len(delimiter)
