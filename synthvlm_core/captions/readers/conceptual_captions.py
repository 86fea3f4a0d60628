"""Conceptual Captions: tab-separated lines of a caption and a url, without header and without quoting.

Belongs here: cutting a line into two cells. Does not belong here: lines (opening.py), judging captions (judging.py).
"""

from collections.abc import Iterator
from typing import Literal

from synthvlm_core.captions.readers.opening import Overlong, lines
from synthvlm_core.captions.readers.rows import About, Row, grouped, longest_text
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable

_LOOKED_AT = 20  # first lines, of which most tell whether the two columns are the wrong way round
_HEADER = {b"caption", b"url"}


class ConceptualCaptions(Source):
    """Lines of caption and url (CC3M) or of url and caption (CC12M)."""

    format: Literal["cc3m", "cc12m"]

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        caption_column = 0 if self.format == "cc3m" else 1
        about = About()
        rows = _rows(file.url, caption_column, longest_text(self.max_characters), about)
        yield from grouped(rows, batch_rows, about)


def _rows(url: str, caption_column: int, limit: int, about: About) -> Iterator[Row]:
    swapped = 0
    for number, line in enumerate(lines(url, limit, about=about)):
        cells = line.split(b"\t", 2)
        if type(line) is Overlong:
            yield Row(None, problem=f"line longer than {limit} bytes", raw=line)
        elif len(cells) != 2:
            yield Row(None, problem="not 2 columns" if line else "empty line", raw=line)
        elif number == 0 and {cell.strip().lower() for cell in cells} == _HEADER:
            # img2dataset's instructions tell people to put one there
            yield Row(None, problem="header line", raw=line)
        else:
            if number < _LOOKED_AT:
                swapped += _is_url(cells[caption_column]) and not _is_url(cells[1 - caption_column])
                if swapped > _LOOKED_AT // 2:
                    _refuse(url, caption_column)
            yield Row(cells[caption_column], cells[1 - caption_column], raw=line)


def _is_url(cell: bytes) -> bool:
    return cell.startswith((b"http://", b"https://"))


def _refuse(url: str, caption_column: int) -> None:
    wanted, found = ("cc3m", "cc12m") if caption_column == 0 else ("cc12m", "cc3m")
    what = f"where {wanted} has captions stand urls, and the other way round"
    raise Unreadable(url, what, f"Write format: {found} in the recipe")
