"""img2dataset's output: WebDataset tars of NNN.jpg, NNN.txt and NNN.json side by side, or Parquet.

Belongs here: finding the members of a sample; tars are streamed and never unpacked to disk. Does not belong here:
images, which are skipped unread, and the columns of Parquet files (parquet.py).
"""

import json
import tarfile
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

from synthvlm_core.captions.readers import parquet
from synthvlm_core.captions.readers.opening import blame, opened
from synthvlm_core.captions.readers.rows import CONTENT_BYTES, Row, grouped, longest_text
from synthvlm_core.parts.source import InputFile, Rows, Source, Unreadable

_REMEDY = "The archive is damaged or was cut short: download or write it again"
_MAX_JSON = 1 << 20
_MAX_EXTENSION = 1 << 20  # of a header that carries a long name: read whole by tarfile
_MAX_MEMBER = 1 << 34  # no image is larger; tarfile would skip stated bytes that are not there without end
_SPARSE = "a sparse file, which no dataset holds"  # tarfile would read the map of its holes whole
_EXTENSIONS = {
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
}


class _Damaged(Exception):
    """A header that cannot be one."""


class _Member(tarfile.TarInfo):
    """tarfile takes a broken header behind the first member for the end of the archive; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Member":
        try:
            member = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise  # the zeros that end an archive
            raise _Damaged(str(error)) from error
        if member.type in _EXTENSIONS and not 0 <= member.size <= _MAX_EXTENSION:
            raise _Damaged(f"a header of {member.size} bytes")
        if member.type == tarfile.GNUTYPE_SPARSE:
            raise _Damaged(_SPARSE)
        return member

    def _proc_gnusparse_10(self, *_: Any) -> None:
        raise _Damaged(_SPARSE)


class Img2dataset(Source):
    """Tars: one row per sample, neighbouring members whose names agree up to the first dot. Files named *.parquet: as
    laion."""

    format: Literal["img2dataset"]

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        if file.url.lower().endswith(".parquet"):
            yield from parquet.read(file.url, max_characters=self.max_characters, batch_rows=batch_rows)
        else:
            yield from grouped(_samples(file.url, longest_text(self.max_characters)), batch_rows)


def _samples(url: str, limit: int) -> Iterator[Row]:
    key: str | None = None
    parts: dict[str, tuple[int, bytes]] = {}  # of one sample: no more than its .txt and .json
    limits = {"txt": limit, "json": _MAX_JSON}
    for name, size, content in _members(url, limits):
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        if key is not None and folder + slash + stem != key:
            yield _sample(key, parts, limits)
            parts = {}
        key = folder + slash + stem
        if extension.lower() in limits:
            parts[extension.lower()] = (size, content)
    if key is not None:
        yield _sample(key, parts, limits)


def _members(url: str, limits: dict[str, int]) -> Iterator[tuple[str, int, bytes]]:
    """Name, stated size and bounded content of every file; of images no content."""
    with opened(url) as handle:
        with blame(url, _REMEDY):
            # streamed, owns nothing; names that are not UTF-8 come with surrogates on every machine
            start = partial(tarfile.open, fileobj=handle, mode="r|", tarinfo=_Member, encoding="utf-8")
            archive = _guarded(url, start)
        while True:
            with blame(url, _REMEDY):
                member = _guarded(url, archive.next)
                archive.members = []  # tarfile would remember every header
                if member is None:
                    return
                if not 0 <= member.size <= _MAX_MEMBER:
                    raise Unreadable(url, f"cannot be read as tar: it states a file of {member.size} bytes", _REMEDY)
                content = b""
                if member.isreg():
                    limit = limits.get(member.name.rpartition("/")[2].partition(".")[2].lower(), 0)
                    content = _guarded(url, partial(_content, archive, member, limit)) if limit else b""
            if member.isreg():
                yield member.name, member.size, content


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # a regular file
    return file.read(limit if member.size <= limit else CONTENT_BYTES)


def _guarded(url: str, step: Any) -> Any:
    try:
        return step()
    except (tarfile.TarError, _Damaged, ValueError, OverflowError, RecursionError) as error:  # tarfile's own, too
        raise Unreadable(url, f"cannot be read as tar: {error}", _REMEDY) from error


def _sample(key: str, parts: dict[str, tuple[int, bytes]], limits: dict[str, int]) -> Row:
    raw = next((parts[name][1] for name in ("txt", "json") if name in parts), key.encode("utf-8", "surrogateescape"))
    if "txt" not in parts:
        return Row(None, problem="sample without .txt", raw=raw)
    for name, limit in limits.items():
        if name in parts and parts[name][0] > limit:
            return Row(None, problem=f".{name} longer than {limit} bytes", raw=raw)
    about: Any = {}
    if "json" in parts:
        try:
            about = json.loads(parts["json"][1])
        except (ValueError, RecursionError):
            about = None
        if not isinstance(about, dict):
            return Row(None, problem=".json is not a JSON object", raw=parts["json"][1])
    similarity = about.get("similarity")
    return Row(
        parts["txt"][1],
        _bytes(about.get("url")),
        _bytes(about.get("key")) or key.encode("utf-8", "surrogateescape"),
        float(similarity) if isinstance(similarity, float) and similarity == similarity else None,
        raw=raw,
    )


def _bytes(value: Any) -> bytes | None:
    # surrogatepass: half a surrogate pair is found out as not UTF-8 with all the others
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None
