"""Single rows on their way to a batch.

Belongs here: one row of a format that is read row by row, what a file holds beside rows, bounds, and how rows are
grouped. Does not belong here:
the form of a batch (parts/source.py), which rows are bad (judging.py), any format (the other modules of this folder).
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import pyarrow as pa

from synthvlm_core.parts.source import Rows

MAX_CELL_BYTES = 1 << 16  # of an image url or uid
CONTENT_BYTES = 4096  # of a bad row that go to quarantine
MAX_TOLD = 20  # columns, keys or kinds of members that are told by name
GROUP_BYTES = 32 << 20  # a batch is closed at this size, however few rows it has


class Row(NamedTuple):
    """One row of a format that is read row by row."""

    text: bytes | None
    url: bytes | None = None
    uid: bytes | None = None
    similarity: float | None = None
    problem: str | None = None
    raw: bytes = b""


@dataclass
class About:
    """What a reader learns of a file as it reads: `Rows` has the same two."""

    in_file: int | None = None
    unused: list[str] = field(default_factory=list)


def longest_text(max_characters: int) -> int:
    """Bytes a row of text may have before it is not even held in memory."""
    return max(1 << 20, 4 * max_characters + MAX_CELL_BYTES)


def grouped(rows: Iterable[Row], batch_rows: int, about: About | None = None) -> Iterator[Rows]:
    """Collect rows into batches, bounded in rows and in bytes.

    Args:
        about: what the reader of the rows fills in.
    """
    about = about or About()
    group: list[Row] = []
    held = 0
    for row in rows:
        if len(group) >= batch_rows or held >= GROUP_BYTES:  # the last group waits for the end, when all is known
            yield _columns(group, about)
            group, held = [], 0
        group.append(row)
        held += len(row.raw)
    if group:
        yield _columns(group, about)


def _columns(group: list[Row], about: About) -> Rows:
    text, url, uid, similarity, problem, raw = zip(*group, strict=True)
    return Rows(
        text=pa.array(text, pa.large_binary()),
        url=pa.array(url, pa.large_binary()),
        uid=pa.array(uid, pa.large_binary()),
        similarity=pa.array(similarity, pa.float64()),
        problem=pa.array(problem, pa.string()),
        raw=pa.array(raw, pa.large_binary()),
        in_file=about.in_file,
        unused=tuple(about.unused),
    )
