"""SBU captions: two line-aligned text files, or one JSON object with parallel lists.

Belongs here: bringing caption and url of a row together. Does not belong here: judging captions (judging.py).
Both forms pair by position, so lists of different lengths are an error: one line missing in the middle would give
every later caption another image's url.
"""

from collections.abc import Iterator
from itertools import zip_longest
from typing import Annotated, Literal

from synthvlm_core.captions.readers import lists
from synthvlm_core.captions.readers.lists import REMEDY, Lists, NotText
from synthvlm_core.captions.readers.opening import Overlong, lines, opened
from synthvlm_core.captions.readers.rows import MAX_TOLD, About, Row, grouped, longest_text
from synthvlm_core.parts.section import Absent, Location
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable

_MISSING = object()


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
        about, limit = About(), longest_text(self.max_characters)
        if file.companions:
            yield from grouped(_text_rows(file.url, file.companions[0], limit, about), batch_rows, about)
        else:
            yield from grouped(_json_rows(file.url, limit, about), batch_rows, about)


def _text_rows(captions: str, urls: str, limit: int, about: About) -> Iterator[Row]:
    both = zip_longest(lines(captions, limit, about=about), lines(urls, limit))
    for number, (text, url) in enumerate(both):
        if text is None or url is None:
            short, other = (captions, urls) if text is None else (urls, captions)
            raise Unreadable(short, f"ends after {number} lines, {other} goes on", "The two lists must be line-aligned")
        if type(text) is Overlong:
            yield Row(None, problem=f"line longer than {limit} bytes", raw=text)
        elif type(url) is Overlong:
            yield Row(None, problem=f"url line longer than {limit} bytes", raw=url)
        else:
            yield Row(text, url, raw=text + b"\t" + url)


def _json_rows(url: str, limit: int, about: About) -> Iterator[Row]:
    """Rows of one JSON object; each list is followed by a pass of its own."""
    with opened(url) as first, opened(url) as second:
        captions, addresses = Lists(url, first, limit), Lists(url, second, limit)
        both = zip_longest(captions.items("captions"), addresses.items("image_urls"), fillvalue=_MISSING)
        for number, (text, address) in enumerate(both):
            if text is _MISSING or address is _MISSING:
                short, long = ("captions", "image_urls") if text is _MISSING else ("image_urls", "captions")
                raise Unreadable(
                    url, f"list {short} ends after {number} items, {long} goes on", "Lists must be parallel"
                )
            yield _row(text, address, limit)  # type: ignore[arg-type]  # neither is missing
        about.unused = _unused(captions)
    there = [key for key, is_list in captions.keys.items() if is_list]
    missing = [key for key in ("captions", "image_urls") if key not in there]
    if missing:
        has = ", ".join(ascii(key)[1:-1][:60] for key in there) or "none"
        raise Unreadable(url, f"lacks the lists {' and '.join(missing)} (lists it has: {has})", REMEDY)


def _row(text: bytes | None, address: bytes | None, limit: int) -> Row:
    if type(text) is bytes and type(address) is bytes:
        return Row(text, address, raw=text)
    for what, cell in (("caption", text), ("image url", address)):
        if isinstance(cell, NotText):
            return Row(None, problem=f"{what} is not text", raw=cell)
        if isinstance(cell, lists.Overlong):
            return Row(None, problem=f"{what} longer than {limit} bytes", raw=cell)
    return Row(text, address, raw=text or b"")


def _unused(found: Lists) -> list[str]:
    others = [ascii(key)[1:-1][:60] for key in found.keys if key not in ("captions", "image_urls")]
    return [f"keys {', '.join(others[:MAX_TOLD])}"] if others else []
