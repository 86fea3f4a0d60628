"""What a file looks like by its first bytes, whatever its name and the recipe say.

Belongs here: forms that people mistake for one another, in words. Does not belong here: reading any of them.
"""

import csv
import json
import re
from collections import Counter

from synthvlm_core import lfs

HEAD = 64 << 10  # bytes that are looked at

_MAGIC = (
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "packed with gzip"),
    (b"BZh", "packed with bzip2"),
    (b"\xfd7zXZ\0", "packed with xz"),
    (b"\x28\xb5\x2f\xfd", "packed with zstandard"),
    (b"PK\x03\x04", "a zip archive (or a spreadsheet: .xlsx is one)"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"ARROW1\0\0", "an Arrow file"),
    (b"%PDF-", "a PDF"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"SQLite format 3\0", "an SQLite database"),
)
_WIDE = (
    (b"\xff\xfe\0\0", "UTF-32 text"),
    (b"\0\0\xfe\xff", "UTF-32 text"),
    (b"\xff\xfe", "UTF-16 text"),
    (b"\xfe\xff", "UTF-16 text"),
)
_MARKUP = re.compile(rb"\s*(<!doctype\s+html|<html[\s>]|<\?xml\s)", re.IGNORECASE)
_COLUMN_NAMES = re.compile(
    r"(image[_ ]?)?(url|link|caption|text|title|alt|id|uid|key|name|label|description|similarity|score|width|height"
    r"|file_?name|path|source|split|hash|sample_id)s?",
    re.IGNORECASE,
)


def foreign(head: bytes) -> tuple[str, str] | None:
    """What a file is that holds no lines of UTF-8 text, and what to do with it; None if it may be such lines.

    Args:
        head: the first bytes, unpacked.
    """
    if head.startswith(lfs.MARK):
        return lfs.WHAT, f"Fetch it: {lfs.REMEDY}"
    for magic, what in _MAGIC:
        if head.startswith(magic):
            return f"is {what} by its first bytes", "Correct its name, or the source's format"
    if head[257:262] == b"ustar":
        return "is a tar archive by its first bytes", "Unpack it, or correct the source's format"
    if wide := _wide(head):
        return f"is {wide}", "Save it as UTF-8, for example: iconv -f UTF-16 -t UTF-8"
    if _MARKUP.match(head):
        return "is a web page or XML, as a server sends in place of a file", "Download the file itself"
    if head.count(b"\r") >= 2 and b"\n" not in head:
        return "ends its lines with a carriage return alone, as old Macs did", r"Convert it: tr '\r' '\n'"
    return None


def form(head: bytes) -> str:
    """What the beginning of a text file looks like, in words for a person who named another format."""
    if found := foreign(head):
        return found[0].removeprefix("is ")
    lines = head.decode("utf-8", "replace").removeprefix("\ufeff").splitlines()[:50]
    if len(head) >= HEAD and len(lines) > 1:
        lines.pop()  # cut
    lines = [line for line in lines if line.strip()]
    if not lines:
        return "no text at all"
    return _json(lines) or _table(lines) or "lines of text without columns"


def _wide(head: bytes) -> str | None:
    for mark, what in _WIDE:
        if head.startswith(mark):
            return what
    looked = head[:4096]
    even, odd = looked[::2], looked[1::2]
    if len(looked) >= 8:
        for zeros, letters in ((odd, even), (even, odd)):
            if zeros.count(0) > 0.4 * len(zeros) and letters.count(0) <= 0.05 * len(letters):
                return "UTF-16 text"
        if looked.count(0) > 0.6 * len(looked):
            return "UTF-32 text or no text at all"
    return None


def _json(lines: list[str]) -> str | None:
    objects = sum(_is_object(line) for line in lines)
    if len(lines) > 1 and objects > len(lines) // 2:
        keys = ", ".join(ascii(key)[1:-1] for key in list(json.loads(next(filter(_is_object, lines))))[:8])
        return f"JSON lines with the keys {keys}"
    start = lines[0].lstrip()
    if re.match(r'\{\s*("|$)', start):
        return "a JSON object"
    if re.match(r'\[\s*(["{\[]|$)', start):
        return "a JSON list"
    return None


def _is_object(line: str) -> bool:
    try:
        return line.startswith("{") and isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _table(lines: list[str]) -> str | None:
    best: tuple[int, int, str, list[str]] | None = None
    for delimiter, name in (("\t", "TSV"), (",", "CSV"), (";", "CSV with ;"), ("|", "CSV with |")):
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter, strict=False) if row]
        except csv.Error:
            continue
        width, times = Counter(len(row) for row in rows).most_common(1)[0] if rows else (0, 0)
        if width > 1 and times > 0.6 * len(rows) and (best is None or times > best[0]):
            best = (times, width, name, rows[0])
    if best is None:
        return None
    _, width, name, first = best
    named = sum(bool(_COLUMN_NAMES.fullmatch(cell.strip())) for cell in first)
    header = f", its header {', '.join(ascii(cell.strip())[1:-1][:40] for cell in first[:8])}" if named >= 2 else ""
    return f"a {name} of {width} columns{header}"
