"""JSON lines: one object a line.

Belongs here: reading an object's keys. Does not belong here: lines (opening.py), judging captions (judging.py).
"""

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from synthvlm_core.captions.readers.columns import Columns, as_number
from synthvlm_core.captions.readers.objects import NotOne, json_object
from synthvlm_core.captions.readers.opening import Overlong, lines
from synthvlm_core.captions.readers.rows import MAX_TOLD, About, Row, grouped, longest_text
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable

_LOOKED_AT = 20  # first objects, of which one must have the caption's key


class JsonLines(Source):
    """One JSON object a line; `columns` says which key is what."""

    format: Literal["jsonl"]
    columns: Columns

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        about = About()
        yield from grouped(self._rows(file.url, longest_text(self.max_characters), about), batch_rows, about)

    def _rows(self, url: str, limit: int, about: About) -> Iterator[Row]:
        objects = with_text = 0
        keys: dict[str, None] = {}
        for line in lines(url, limit, about=about):
            found, problem = _object(line, limit)
            if found is None:
                yield Row(None, problem=problem, raw=line)
                continue
            if objects < _LOOKED_AT:
                objects, with_text = objects + 1, with_text + (self.columns.text in found)
                keys |= dict.fromkeys(found)
                about.unused = self._unused(keys)
                if objects == _LOOKED_AT and not with_text:
                    self._refuse(url, keys)
            yield self._row(found, line)
        if objects and not with_text:
            self._refuse(url, keys)

    def _row(self, found: dict[str, Any], line: bytes) -> Row:
        columns = self.columns
        text = found.get(columns.text)
        problem = None
        if columns.text not in found:
            problem = f"no key {columns.text!r}"
        elif text is not None and not isinstance(text, str):
            text, problem = None, f"{columns.text} is no text"
        return Row(
            None if text is None else text.encode(errors="surrogatepass"),
            url=_bytes(found.get(columns.url)) if columns.url else None,
            uid=_bytes(found.get(columns.uid)) if columns.uid else None,
            similarity=as_number(found.get(columns.similarity)) if columns.similarity else None,
            problem=problem,
            raw=line,
        )

    def _unused(self, keys: Iterable[str]) -> list[str]:
        others = [ascii(key)[1:-1][:60] for key in keys if key not in self.columns.named().values()]
        return [f"keys {', '.join(others[:MAX_TOLD])}"] if others else []

    def _refuse(self, url: str, keys: Iterable[str]) -> None:
        there = ", ".join(ascii(key) for key in list(keys)[:20])
        what = f"none of its first objects has a key {self.columns.text!r}; they have {there or 'none'}"
        raise Unreadable(url, what, "Correct columns.text of the source")


def _object(line: bytes, limit: int) -> tuple[dict[str, Any] | None, str | None]:
    """The JSON object of a line, or why there is none."""
    if type(line) is Overlong:
        return None, f"line longer than {limit} bytes"
    if not line.strip():
        return None, "empty line"
    try:
        return json_object(line), None
    except NotOne as error:
        return None, f"line is {error}" if str(error) == "not UTF-8" else str(error)


def _bytes(value: Any) -> bytes | None:
    """A text or whole number as bytes; half of a surrogate pair makes them no UTF-8, which is told later."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return value.encode(errors="surrogatepass") if isinstance(value, str) and value else None
