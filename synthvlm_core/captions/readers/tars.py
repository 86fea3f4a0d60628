"""Tars from anywhere, read as a stream: the members that a dataset may hold, each with its place.

Belongs here: refusing headers that cannot be ones, bounded contents. Does not belong here: what members mean
(img2dataset.py, captions/originals/img2dataset.py).
"""

import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

from synthvlm_core.captions.readers.opening import blame, is_litter, opened
from synthvlm_core.captions.readers.rows import CONTENT_BYTES
from synthvlm_core.parts.source import Unreadable

_REMEDY = "The archive is damaged or was cut short: download or write it again"
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


class _Header(tarfile.TarInfo):
    """tarfile takes a broken header behind the first member for the end of the archive; here it is an error."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
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


class Member(NamedTuple):
    """A file of an archive, or a link in it."""

    size: int
    content: bytes
    """Nothing, if it was not asked for."""
    is_link: bool
    offset: int = 0
    """Where its bytes begin, in the archive as it is unpacked."""


def members(url: str, limits: Mapping[str, int], left: Counter[str]) -> Iterator[tuple[str, Member]]:
    """Name and member of every file and link, in order; what is passed over is counted.

    Args:
        limits: by ending, in lower case, the most bytes of content to hold; of other endings none.
        left: where what is passed over is counted, in words.

    Raises:
        Unreadable: if the archive is damaged or cut short; what came before it stands.
    """
    with opened(url) as handle:
        with blame(url, _REMEDY):
            # streamed, owns nothing; names that are not UTF-8 come with surrogates on every machine
            start = partial(tarfile.open, fileobj=handle, mode="r|", tarinfo=_Header, encoding="utf-8")
            archive = _guarded(url, start)
        while True:
            with blame(url, _REMEDY):
                member = _guarded(url, archive.next)
                archive.members = []  # tarfile would remember every header
                if member is None:
                    return
                if not 0 <= member.size <= _MAX_MEMBER:
                    raise Unreadable(url, f"cannot be read as tar: it states a file of {member.size} bytes", _REMEDY)
                base = member.name.rpartition("/")[2]
                content = b""
                if member.isreg():
                    limit = limits.get(base.partition(".")[2].lower(), 0)
                    content = _guarded(url, partial(_content, archive, member, limit)) if limit else b""
            if member.isdir():
                continue
            if not (member.isreg() or member.islnk() or member.issym()):
                left["members that are no files"] += 1
            elif base.startswith(".") or is_litter(member.name):
                left["hidden members"] += 1
            else:
                yield member.name, Member(member.size, content, not member.isreg(), member.offset_data)


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, limit: int) -> bytes:
    file = archive.extractfile(member)
    assert file is not None  # a regular file
    return file.read(limit if member.size <= limit else CONTENT_BYTES)


def _guarded(url: str, step: Any) -> Any:
    try:
        return step()
    except (tarfile.TarError, _Damaged, ValueError, OverflowError, RecursionError) as error:  # tarfile's own, too
        raise Unreadable(url, f"cannot be read as tar: {error}", _REMEDY) from error
