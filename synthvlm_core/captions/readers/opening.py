"""Opening files anywhere fsspec reaches, unpacking them, and cutting them into lines within bounded memory.

Belongs here: bytes and lines. Does not belong here: what a line means.
"""

import lzma
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
import pyarrow as pa
from fsspec.compression import compr
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import infer_compression

from synthvlm_core.captions.readers.rows import CONTENT_BYTES
from synthvlm_core.parts.source import Unreadable

REMEDY = "Check that the file is complete (download it again) and that its name says how it is compressed"

_BLOCK = 4 << 20
_FETCHED_AHEAD = 256 << 10
_BOM = b"\xef\xbb\xbf"
_ZSTD = (".zst", ".zstd")
_PACKED = {
    b"\x1f\x8b": ".gz",
    b"BZh91AY&SY": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
    b"PAR1": ".parquet",
}


class Overlong(bytes):
    """The first bytes of a line that was too long to hold; the rest was skipped."""


@contextmanager
def blame(url: str, remedy: str = REMEDY) -> Iterator[None]:
    """Turn what goes wrong while bytes of `url` are fetched or unpacked into one error that names it.

    Wrap only the fetching: an error of our own code must not pass for a broken file.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise Unreadable(url, "no such file", "Put it there or correct the recipe") from error
    except PermissionError as error:
        raise Unreadable(url, f"not readable: {error}", "Grant this user read access") from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise Unreadable(url, f"cannot be read: {error}", remedy) from error


@contextmanager
def opened(url: str, *, unpack: bool = True) -> Iterator[Any]:
    """The bytes of a file, unpacked as its name says; closes everything.

    Not unpacked means read here and there: then little is fetched ahead of what is asked for.
    """
    with blame(url):
        filesystem, path = fsspec.url_to_fs(url)
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.invalidate_cache()  # a listing of minutes ago may state another size
        raw = filesystem.open(path, "rb", **({} if unpack else {"block_size": _FETCHED_AHEAD}))
    handle = raw
    try:
        if unpack:
            handle = _unpacked(url, raw)
        yield handle
    finally:
        handle.close()
        raw.close()


def _unpacked(url: str, raw: Any) -> Any:
    zstd = url.endswith(_ZSTD)
    codec = infer_compression(url)
    with blame(url):
        start = raw.read(16)
        raw.seek(0)
    if codec or zstd:
        if not start:  # gzip would call no bytes at all an empty file
            raise Unreadable(url, "has no bytes, not even a header", "Download it again")
        # fsspec knows zstd only where a further package is installed; Arrow always does.
        return pa.CompressedInputStream(raw, "zstd") if zstd else compr[codec](raw, mode="rb")
    for magic, suffix in _PACKED.items():
        if start.startswith(magic):
            raise Unreadable(url, f"is a {suffix} file by its first bytes, not by its name", f"Rename it to …{suffix}")
    return raw


def lines(url: str, limit: int, *, returns: bool = False) -> Iterator[bytes]:
    r"""The lines of a file without their ends. Only \n and \r\n end a line; a byte order mark is dropped.

    A line longer than `limit` bytes comes as `Overlong`: it is one line, but never held whole.

    Args:
        returns: keep the \r of \r\n, where a line break may be part of a cell.
    """
    with opened(url) as handle:
        rest, skipping, start = b"", False, True
        while True:
            with blame(url):
                block = handle.read(_BLOCK)
            if not block:
                break
            if skipping:
                end = block.find(b"\n")
                if end < 0:
                    continue
                block, skipping = block[end + 1 :], False
            block = rest + block
            if start and len(block) >= len(_BOM):
                block, start = block.removeprefix(_BOM), False
            pieces = block.split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                line = piece[:-1] if piece.endswith(b"\r") and not returns else piece
                yield line if len(line) <= limit else Overlong(line[:CONTENT_BYTES])
            if len(rest) > limit + 1:  # one more for a carriage return that may belong to the end
                yield Overlong(rest[:CONTENT_BYTES])
                rest, skipping = b"", True
        if rest:
            yield rest if len(rest) <= limit else Overlong(rest[:CONTENT_BYTES])


def modified(url: str) -> list[Any]:
    """Size and time of change (local) or size and entity tag (object store), without reading the file."""
    with blame(url):
        filesystem, path = fsspec.url_to_fs(url)
        if isinstance(filesystem, LocalFileSystem):
            found = os.stat(path)
            return [found.st_size, found.st_mtime_ns]
        filesystem.invalidate_cache()
        info = {key.lower(): value for key, value in filesystem.info(path).items()}
    keys = (
        "etag",
        "md5",
        "checksum",
        "crc32c",
        "lastmodified",
        "last_modified",
        "updated",
        "mtime",
        "created",
    )
    known = [str(info[key]) for key in keys if info.get(key) is not None]
    return [info.get("size"), *known[:1]]
