"""What a format of a released set must offer: its section, files from rows, and pairs from files.

Belongs here: the base of formats. Does not belong here: the formats (release/formats/) and which rows are released
(release/released.py).
"""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pyarrow as pa

from synthvlm_core.parts.part import Part
from synthvlm_core.store.records import Table


@dataclass(frozen=True)
class SetContext:
    """What a format may need to know of the set."""

    table: Table
    """Columns of the rows; `image` holds the encoded picture."""
    rows: int
    """How many rows there will be, at least one."""
    picture_bytes: int
    """Bytes of all their pictures together."""
    extension: str
    """Of a picture's file, without the dot."""
    instructions: tuple[str, ...]
    seed: int

    def rows_per_file(self, most_rows: int, most_bytes: int) -> int:
        """Rows in each file of a set that is cut into files, the last one aside.

        Args:
            most_rows: of a file.
            most_bytes: of a file's pictures, if they are of the set's mean size; one row is the least.
        """
        return max(1, min(most_rows, self.rows * most_bytes // max(1, self.picture_bytes)))


@dataclass(frozen=True)
class Pair:
    """What a format says of a row, in a form that can be compared."""

    image_id: str
    text: str
    """The caption as the format spells it."""
    picture_hash: str
    """SHA-256 of the picture's bytes as they stand in the format's files."""
    more: str = ""
    """Whatever else the format says of the row, in a spelling of its own."""


class Writer(ABC):
    """Writes the files of one format of one set."""

    @abstractmethod
    def add(self, rows: pa.Table) -> None:
        """Take some rows in the columns of the set's table, in the order of ranks."""

    @abstractmethod
    def close(self) -> None:
        """Write what is left."""


class Format(Part):
    """A form in which a set is released, in a folder of its own below the release's."""

    tag: ClassVar[str] = "format"
    version: ClassVar[int]
    """Raised when the same section and rows give other files: those of an older version are written again."""
    folder: ClassVar[str]
    """Where its files lie."""
    explained: ClassVar[str]
    """What the folder is and how it is read, one sentence or two of the card."""

    @abstractmethod
    def writer(self, put: Callable[[str, bytes], None], context: SetContext) -> Writer:
        """Begin a set. `put` stores a file by its name below `folder`; it may be called from several threads."""

    @abstractmethod
    def pairs(self, get: Callable[[str], bytes], names: list[str], context: SetContext) -> Iterator[Pair]:
        """The pairs as the stored files tell them, in any order.

        Args:
            get: the proved bytes of a file by its name below `folder`; it may be called from several threads.
            names: of all files below `folder`.

        Raises:
            ValueError: if a file is not of the format; the message names it.
        """

    def pair(self, row: dict[str, Any], context: SetContext) -> Pair:
        """What `pairs` must tell of a row of the set."""
        return Pair(row["image_id"], row["text"], hashlib.sha256(row["image"]["bytes"]).hexdigest())
