"""SBU captions: two line-aligned text files, or one JSON object with parallel lists.

Belongs here: bringing caption and url of a row together. Does not belong here: judging captions (judging.py).
Both forms pair by position, so lists of different lengths are an error: one line missing in the middle would give
every later caption another image's url.
"""

import re
from collections.abc import Iterator
from itertools import zip_longest
from typing import Annotated, Any, Literal

import ijson

from synthvlm_core.captions.readers.opening import Overlong, blame, lines, opened
from synthvlm_core.captions.readers.rows import Row, grouped, longest_text
from synthvlm_core.parts.section import Absent, Location
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable

_UNQUOTED = re.compile(rb'(?<!\\)"')
_LONGEST_TOKEN = 64 << 20
_REMEDY = "An sbu source is one JSON object with lists image_urls and captions, or text files with metadata_files"
_MISSING = object()
_SKIPPED = {"start_array": ["..."], "start_map": {"...": "..."}}  # what a list or object among the items comes as


class Sbu(Source):
    """One JSON object with lists of captions and image urls; or, with `metadata_files`, line-aligned text files."""

    format: Literal["sbu"]
    metadata_files: Annotated[tuple[str, ...], Location("files"), Absent([])] = ()
    """The url lists, one per caption file, in the same order."""

    @property
    def beside(self) -> tuple[str, ...]:
        return self.metadata_files

    @property
    def paired(self) -> bool:
        return True

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        if file.companions:
            limit = longest_text(self.max_characters)
            yield from grouped(_text_rows(file.url, file.companions[0], limit), batch_rows)
        else:
            yield from read_json(file.url, batch_rows=batch_rows)


def _text_rows(captions: str, urls: str, limit: int) -> Iterator[Row]:
    for number, (text, url) in enumerate(zip_longest(lines(captions, limit), lines(urls, limit))):
        if text is None or url is None:
            short, other = (captions, urls) if text is None else (urls, captions)
            raise Unreadable(short, f"ends after {number} lines, {other} goes on", "The two lists must be line-aligned")
        if type(text) is Overlong:
            yield Row(None, problem=f"line longer than {limit} bytes", raw=text)
        elif type(url) is Overlong:
            yield Row(None, problem=f"url line longer than {limit} bytes", raw=url)
        else:
            yield Row(text, url, raw=text + b"\t" + url)


def read_json(url: str, *, batch_rows: int) -> Iterator[Rows]:
    """Rows of one JSON object; each list is followed by a streaming pass of its own."""
    yield from grouped(_json_rows(url), batch_rows)


def _json_rows(url: str) -> Iterator[Row]:
    number = 0
    with opened(url) as first, opened(url) as second:
        texts, urls = _items(url, first, "captions"), _items(url, second, "image_urls")
        for text, address in zip_longest(texts, urls, fillvalue=_MISSING):
            if text is _MISSING or address is _MISSING:
                short, long = ("captions", "image_urls") if text is _MISSING else ("image_urls", "captions")
                raise Unreadable(
                    url, f"list {short} ends after {number} items, {long} goes on", "Lists must be parallel"
                )
            number += 1
            yield _row(text, address)
    if not number:
        _require_lists(url)


def _row(text: Any, address: Any) -> Row:
    if text is not None and not isinstance(text, str):
        return Row(None, problem="caption is not text", raw=str(text)[:4096].encode("utf-8", "replace"))
    if address is not None and not isinstance(address, str):
        return Row(None, problem="image url is not text", raw=str(address)[:4096].encode("utf-8", "replace"))
    # surrogatepass: half a surrogate pair, legal as a JSON escape, is found out as not UTF-8 with all the others
    raw = b"" if text is None else text.encode("utf-8", "surrogatepass")
    return Row(
        None if text is None else raw,
        None if address is None else address.encode("utf-8", "surrogatepass"),
        raw=raw,
    )


def _items(url: str, handle: Any, key: str) -> Iterator[Any]:
    inside = False
    for depth, name, event, value in _shallow(url, handle):
        if depth == 1:
            inside = name == key and event == "start_array"
        elif depth == 2 and inside:
            yield _SKIPPED.get(event, value)


def _require_lists(url: str) -> None:
    """Tell an object without rows from a file that is something else."""
    with opened(url) as handle:
        found = _shallow(url, handle)
        lists = [name for depth, name, event, _ in found if depth == 1 and event == "start_array" and name]
    missing = [key for key in ("captions", "image_urls") if key not in lists]
    if missing:
        has = ", ".join(lists) or "none"
        raise Unreadable(url, f"lacks the lists {' and '.join(missing)} (lists it has: {has})", _REMEDY)


def _shallow(url: str, handle: Any) -> Iterator[tuple[int, str, str, Any]]:
    """Depth, key of the outermost object, event and value of what lies no deeper than the items of its lists.

    What lies deeper is passed over by counting: to name or to build it takes the square of its depth.
    """
    depth, key = 0, ""
    for event, value in _events(url, handle):
        if event == "map_key":
            key = value if depth == 1 else key
        elif event in ("end_array", "end_map"):
            depth -= 1
        else:
            if depth <= 2:
                yield depth, key, event, value
            depth += event in ("start_array", "start_map")


def _events(url: str, handle: Any) -> Iterator[tuple[str, Any]]:
    try:
        with blame(url):
            yield from ijson.basic_parse(_Bounded(url, handle))
    except (ijson.JSONError, ValueError) as error:  # ValueError: a number with thousands of digits
        raise Unreadable(url, f"is not readable as JSON: {' '.join(str(error).split())}", _REMEDY) from error


class _Bounded:
    """A file for ijson that refuses a string too long to hold.

    Inside a JSON string every quote follows a backslash, so a quote without one delimits a string. A stretch of
    tens of megabytes without any is no list of captions, urls or user ids.
    """

    def __init__(self, url: str, handle: Any) -> None:
        self._url, self._handle = url, handle
        self._since = 0

    def read(self, size: int) -> bytes:
        block: bytes = self._handle.read(size)
        self._since = 0 if _UNQUOTED.search(block) else self._since + len(block)
        if self._since > _LONGEST_TOKEN:
            raise Unreadable(self._url, f"has {self._since} bytes without the end of a string", _REMEDY)
        return block
