"""Contact sheets: a grid of pictures with their captions, small enough for the UI's database.

Belongs here: laying out pictures that others chose, hostile captions as harmless text. Does not belong here: choosing
them (the stages) or where a sheet is shown (synthvlm_assets).
"""

import io
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from synthvlm_core import decoding

MAX_BYTES = 150_000
CELL = 160
"""Pixels of a picture's side: readable captions, three lines of about 26 letters."""
LINES = 3
_GAP, _LINE, _TEXT = 8, 14, 11
_BACKGROUND, _INK, _NOTE, _MISSING, _FRAME = "#ffffff", "#222222", "#2a78b5", "#b53a2a", "#dddddd"
_QUALITIES = (90, 80, 70, 60, 50)


def contact_sheet(items: Sequence[tuple[bytes, str, str]], columns: int = 6, *, cell: int = CELL) -> bytes:
    """Lay out pictures in a grid, a note and the caption below each.

    Args:
        items: (encoded picture, caption, note) in reading order; a picture that does not decode shows why.
        columns: pictures per line.
        cell: side of the square that each picture is fitted into, in pixels. Smaller pictures are enlarged.

    Returns:
        A JPEG below 150 kB: quality first, then size gives way.
    """
    while True:
        sheet = _lay_out(items, max(1, min(columns, len(items))), cell)
        for quality in _QUALITIES:
            buffer = io.BytesIO()
            sheet.save(buffer, format="JPEG", quality=quality, subsampling="4:4:4", optimize=True)
            if buffer.tell() < MAX_BYTES:
                return buffer.getvalue()
        if cell <= 32:
            raise ValueError(f"{len(items)} pictures do not fit into a sheet of {MAX_BYTES} bytes: choose fewer")
        cell = cell * 3 // 4


def _lay_out(items: Sequence[tuple[bytes, str, str]], columns: int, cell: int) -> PIL.Image.Image:
    height = cell + (LINES + 1) * _LINE + _GAP
    rows = max(1, -(-len(items) // columns))
    sheet = PIL.Image.new("RGB", (columns * (cell + _GAP) + _GAP, rows * height + _GAP), _BACKGROUND)
    draw = PIL.ImageDraw.Draw(sheet)
    for number, (data, caption, note) in enumerate(items):
        left = _GAP + number % columns * (cell + _GAP)
        top = _GAP + number // columns * height
        try:
            picture = _fitted(decoding.decode(data), cell)
        except decoding.UndecodableImage as error:
            draw.rectangle((left, top, left + cell - 1, top + cell - 1), outline=_MISSING)
            _write(draw, (left + 4, top + 4), str(error), cell - 8, 4, _MISSING)
        else:
            x, y = left + (cell - picture.width) // 2, top + (cell - picture.height) // 2
            sheet.paste(picture, (x, y))
            draw.rectangle((x - 1, y - 1, x + picture.width, y + picture.height), outline=_FRAME)
        _write(draw, (left, top + cell + 2), note, cell, 1, _NOTE)
        _write(draw, (left, top + cell + 2 + _LINE), caption, cell, LINES, _INK)
    return sheet


def _fitted(picture: PIL.Image.Image, cell: int) -> PIL.Image.Image:
    """The picture scaled to touch the cell's borders from inside."""
    scale = cell / max(picture.size)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture.resize(size, PIL.Image.Resampling.BICUBIC)


def _write(draw: PIL.ImageDraw.ImageDraw, at: tuple[int, int], text: str, width: int, lines: int, ink: str) -> None:
    for number, line in enumerate(_wrapped(_harmless(text), width, lines)):
        draw.text((at[0], at[1] + number * _LINE), line, fill=ink, font=_font())


def _wrapped(text: str, width: int, lines: int) -> list[str]:
    """Text as at most `lines` lines no wider than `width`; what is cut is marked with an ellipsis."""
    found: list[str] = []
    rest = text
    while rest and len(found) < lines:
        fits = _fitting(rest, width)
        if fits < len(rest):
            space = rest.rfind(" ", 0, fits + 1)
            fits = space if space > 0 else fits
        found.append(rest[:fits])
        rest = rest[fits:].lstrip()
    if rest:
        found[-1] = found[-1][: _fitting(found[-1], width - _font().getlength("…"))].rstrip() + "…"
    return found


def _fitting(text: str, width: float) -> int:
    """How many leading characters fit, at least one."""
    low, high = 1, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if _font().getlength(text[:middle]) <= width else (low, middle - 1)
    return low


def _harmless(text: str) -> str:
    """One bounded line without invisible or reordering characters, whitespace collapsed."""
    shown = "".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text[:400])
    return " ".join(shown.split())


@lru_cache(maxsize=1)
def _font() -> PIL.ImageFont.FreeTypeFont | PIL.ImageFont.ImageFont:
    """The font that comes with Pillow."""
    return PIL.ImageFont.load_default(_TEXT)
