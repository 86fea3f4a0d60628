"""What a source of captions must offer: its section, and rows of its files.

Belongs here: the base of the readers' sections and the form of unjudged rows. Does not belong here: published formats
(captions/readers/) and any judgement of a row (captions/judging.py).
"""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

import pyarrow as pa
from pydantic import Field

from synthvlm_core.parts.locations import without_credentials
from synthvlm_core.parts.originals import Originals
from synthvlm_core.parts.part import OneOf, Part
from synthvlm_core.parts.section import Absent, Incidental, Location, Name, Positive, Share


@dataclass(frozen=True)
class InputFile:
    """One file of a source."""

    name: str
    """As the recipe names it, globs resolved, without credentials: the same on every machine, stored with each
    caption."""
    url: str
    """Where to open it: an absolute path or a URL."""
    companions: tuple[str, ...] = ()
    """Files read beside it: SBU's list of urls, or all of DataComp's metadata."""
    listed: Mapping[str, list[Any]] = field(default_factory=dict, compare=False, repr=False)
    """Size and entity tag of these files as a listing told them, by url; what is not in here must be looked at."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """The rows of a file that follow the ones handed over before. Bytes, because nothing is known to be UTF-8 yet."""

    text: pa.Array
    url: pa.Array | None = None
    uid: pa.Array | None = None
    similarity: pa.Array | None = None
    problem: pa.Array | None = None
    """Why the format itself refuses a row; null where it does not."""
    raw: pa.Array | None = None
    """The rows as they stand in the file; None where a row is not a run of bytes (Parquet)."""
    in_file: int | None = None
    """How many rows the file holds up to here, counted by something else than the rows that were read: a footer, line
    ends, names of members. None where nothing else tells. The last one handed over counts."""
    unused: tuple[str, ...] = ()
    """What the file holds beside rows and this reader passes over, in words. The last one handed over counts."""


class Unreadable(Exception):
    """A file that cannot be read: which, what is wrong, and what a person can do about it."""

    def __init__(self, url: str, what: str, remedy: str) -> None:
        super().__init__(without_credentials(f"{url}: {what}. {remedy}"))


class Source(Part):
    """One source of captions, one Dagster partition."""

    tag: ClassVar[str] = "format"

    name: Name
    files: Annotated[tuple[str, ...], Field(min_length=1), Location("files")]
    """Paths, globs or URLs (captions/readers/access.py says which); relative ones start at the recipe file."""
    origin: Annotated[Literal["human", "model"], Absent("human")] = "human"
    max_characters: Annotated[Positive, Absent(4096)] = 4096
    """Longer captions go to quarantine."""
    originals: Annotated[Annotated[Originals, OneOf("synthvlm_core.captions.originals")] | None, Absent(None)] = None
    """Where the images are had that the captions came with; without, no rule compares captions with them."""
    max_quarantined_share: Annotated[Share, Incidental()] = 0.2
    """A check stops what follows if more than this of a file's rows, or of the source's, went to quarantine."""

    @property
    def beside(self) -> tuple[str, ...]:
        """Patterns of the files that are read beside each caption file."""
        return ()

    @property
    def paired(self) -> bool:
        """Whether the n-th of `beside` belongs to the n-th caption file, rather than all to each."""
        return False

    @abstractmethod
    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        """All rows of a file in order, at most `batch_rows` at a time.

        Raises:
            Unreadable: when the file turns out to be none of this format.
        """
