"""Opening files wherever sources may lie, unpacking them, and cutting them into lines within bounded memory.

Belongs here: bytes and lines. Does not belong here: which places are allowed (access.py), what a line means.
"""

import bz2
import hashlib
import lzma
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pyarrow as pa
from fsspec.implementations.local import LocalFileSystem

from synthvlm_core import lfs, machine
from synthvlm_core.captions.readers import access, sniffing
from synthvlm_core.captions.readers.rows import CONTENT_BYTES, About
from synthvlm_core.parts.source import Unreadable

REMEDY = "Check that the file is complete (download it again) and that its name says how it is compressed"

_BLOCK = 4 << 20
_PACKED_BLOCK = 256 << 10
_FETCHED_AHEAD = 256 << 10
_BOM = b"\xef\xbb\xbf"
_MAGIC = {
    b"\x1f\x8b": ".gz",
    b"BZh91AY&SY": ".bz2",
    b"\xfd7zXZ\0": ".xz",
    b"\x28\xb5\x2f\xfd": ".zst",
    b"PK\x03\x04": ".zip",
    b"PAR1": ".parquet",
}
_LARGE, _RATIO = 1 << 30, 250  # bytes unpacked and times their packed size: beyond both no file is text
_LZMA_MEMORY = 256 << 20
_ZIP_END, _ZIP_COMMENT = b"PK\x05\x06", 22 + (1 << 16)
_ZIP_DIRECTORY = 16 << 20  # bytes of an archive's list of members
_HASHED = 1 << 30  # bytes of a file that is read to tell whether it changed
_TAGS = (
    "etag",
    "md5",
    "checksum",
    "crc32c",
    "lastmodified",
    "last_modified",
    "updated",
    "mtime",
    "content-md5",
    "digest",
    "last-modified",
    "blob_id",
    "created",
)
"""What tells one state of a file from another, the first one that is there. The order is part of stored keys."""


class Overlong(bytes):
    """The first bytes of a line that was too long to hold; the rest was skipped."""


@contextmanager
def blame(url: str, remedy: str = REMEDY) -> Iterator[None]:
    """Turn what goes wrong while bytes of `url` are fetched or unpacked into one error that names it.

    Wrap only the fetching: an error of our own code must not pass for a broken file.
    """
    try:
        yield
    except Unreadable:
        raise
    except FileNotFoundError as error:
        raise _not_there(url, error) from error
    except PermissionError as error:
        if "://" not in url:
            raise Unreadable(url, f"not readable: {error}", "Grant this user read access") from error
        raise _cannot(url, error, remedy) from error
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException, zipfile.BadZipFile) as error:
        raise _cannot(url, error, remedy) from error
    except Exception as error:  # each object store's client has errors of its own
        if "://" not in url or isinstance(error, MemoryError | AssertionError):
            raise
        raise _cannot(url, error, remedy) from error


def is_missing(error: FileNotFoundError) -> bool:
    """Whether there really is no such file: fsspec says so, too, where a web server fails or cannot be reached."""
    cause = error.__cause__
    return not access.refusal(error) and (
        not isinstance(cause, aiohttp.ClientError | TimeoutError | OSError) or getattr(cause, "status", None) == 404
    )


def _not_there(url: str, error: FileNotFoundError) -> Unreadable:
    if is_missing(error):
        return Unreadable(url, "no such file", "Put it there or correct the recipe")
    return _cannot(url, error.__cause__ or error, "Check that the server can be reached and gives the file")


def _cannot(url: str, error: BaseException, remedy: str) -> Unreadable:
    if refused := access.refusal(error):
        what, _, remedy = str(refused).partition(". ")
        return Unreadable(url, f"is not requested: {what}", remedy)
    if "://" in url and (found := machine.refusal(error, url)):
        return Unreadable(url, found.what, f"{found.remedy[0].upper()}{found.remedy[1:]}")
    return Unreadable(url, f"cannot be read: {str(error) or type(error).__name__}", remedy)


def suffix(url: str) -> str:
    """The last ending of a file's name, dot included, in lower case; that of a web address without its query."""
    path = urlsplit(url).path if url.partition("://")[0].lower() in access.WEB else url
    return PurePosixPath(path).suffix.lower()


@contextmanager
def opened(url: str, *, unpack: bool = True) -> Iterator[Any]:
    """The bytes of a file, unpacked as its name says; closes everything.

    Not unpacked means read here and there: then little is fetched ahead of what is asked for.
    """
    with blame(url):
        filesystem, path = access.filesystem(url)
        options: dict[str, Any] = {}
        if not isinstance(filesystem, LocalFileSystem):
            filesystem.invalidate_cache()  # a listing of minutes ago may state another size
            streamed = url.partition("://")[0].lower() in access.WEB and suffix(url) != ".zip"
            options = {"block_size": 0 if streamed else None} if unpack else {"block_size": _FETCHED_AHEAD}
        raw = filesystem.open(path, "rb", **options)
    handle = raw
    try:
        if unpack:
            handle = _unpacked(url, raw)
        yield handle
    finally:
        handle.close()
        raw.close()


def head(url: str, size: int = sniffing.HEAD) -> bytes:
    """The first bytes of a file, unpacked as its name says."""
    with opened(url) as handle, blame(url):
        return _first(handle, size)


def _first(handle: Any, size: int) -> bytes:
    found = b""
    while len(found) < size and (block := handle.read(size - len(found))):
        found += block
    return found


def _unpacked(url: str, raw: Any) -> Any:
    packed = _Packed(raw)
    ending = suffix(url)
    with blame(url):
        start = packed.peek(16)
    if ending in (*_CODECS, ".zst", ".zstd", ".zip") and not start:  # gzip would call no bytes at all an empty file
        raise Unreadable(url, "has no bytes, not even a header", "Download it again")
    if start == lfs.MARK[: len(start)] and start:
        with blame(url):
            pointer = sniffing.foreign(packed.peek(64))
        if pointer:
            raise Unreadable(url, *pointer)
    if ending == ".zip":
        return _Measured(url, _only_member(url, raw), packed)
    if ending in (".zst", ".zstd"):
        return _Measured(url, pa.CompressedInputStream(pa.PythonFile(packed, "r"), "zstd"), packed)
    if ending in _CODECS:
        return _Measured(url, _Streams(url, packed, *_CODECS[ending]), packed)
    for magic, name in _MAGIC.items():
        if start.startswith(magic) and ending == name:  # nothing packed, but a format of its own
            raise Unreadable(url, f"is a {name} file, and this source's format reads text", "Correct the format")
        if start.startswith(magic):
            raise Unreadable(url, f"is a {name} file by its first bytes, not by its name", f"Rename it to …{name}")
    return packed


class _Packed:
    """The bytes of a file as they are, counted; the first may be looked at before, which a web server's cannot."""

    closed = False

    def __init__(self, raw: Any) -> None:
        self._raw, self._ahead = raw, b""
        self.count = 0

    def peek(self, size: int) -> bytes:
        self._ahead += _first(self._raw, size - len(self._ahead))
        return self._ahead

    def read(self, size: int = -1) -> bytes:
        if self._ahead and size >= 0:
            found, self._ahead = self._ahead[:size], self._ahead[size:]
        else:
            found, self._ahead = self._ahead + self._raw.read(size), b""
        self.count += len(found)
        return found

    def tell(self) -> int:
        return self.count

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        """What was given is closed by who opened it."""


class _Measured:
    """Unpacked bytes, as long as they stand in a proportion to the packed ones that text can have."""

    def __init__(self, url: str, handle: Any, packed: _Packed) -> None:
        self._url, self._handle, self._packed = url, handle, packed
        self._count = 0

    def read(self, size: int = -1) -> bytes:
        found: bytes = self._handle.read(size)
        self._count += len(found)
        if self._count > _LARGE and self._count > _RATIO * max(1, self._packed.count):
            what = f"unpacks {self._packed.count} bytes to more than {self._count}"
            raise Unreadable(self._url, what, "No list of captions does that: get the file anew from where it came")
        return found

    def close(self) -> None:
        self._handle.close()


class _Deflate:
    """zlib's decompressor with the face of bz2's and lzma's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(31)

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data


_CODECS: dict[str, tuple[Callable[[], Any], bytes]] = {
    ".gz": (_Deflate, b"\x1f\x8b"),
    ".bz2": (bz2.BZ2Decompressor, b"BZh"),
    ".xz": (lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY), b"\xfd7zXZ\0"),
    ".lzma": (lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY), b"\x5d\0\0"),
}


class _Streams:
    """All compressed streams of a file, one behind the other, as `cat a.gz b.gz` leaves them.

    Python's own readers take bytes behind a stream that are none for the end of the file, and drop them.
    """

    def __init__(self, url: str, packed: _Packed, make: Callable[[], Any], magic: bytes) -> None:
        self._url, self._packed, self._make, self._magic = url, packed, make, magic
        self._codec = make()
        self._rest = b""

    def read(self, size: int = -1) -> bytes:
        size = _BLOCK if size < 0 else size
        while True:
            if self._codec.eof and not self._next():
                return b""
            data = b""
            if self._codec.needs_input:
                data, self._rest = self._rest or self._packed.read(_PACKED_BLOCK), b""
            found: bytes = self._codec.decompress(data, size)
            if found:
                return found
            if not data and self._codec.needs_input and not self._codec.eof:
                raise EOFError("it is cut short: its last compressed stream has no end")

    def _next(self) -> bool:
        """Begin with the stream that follows; False at the end of the file. Zeros between streams are padding."""
        rest = self._rest + self._codec.unused_data
        while len(rest := rest.lstrip(b"\0")) < len(self._magic):
            block = self._packed.read(_PACKED_BLOCK)
            if not block:
                break
            rest += block
        if rest and not rest.startswith(self._magic):
            raise Unreadable(self._url, "has bytes behind its compressed content that are not compressed", REMEDY)
        self._rest = rest
        if rest:
            self._codec = self._make()
        return bool(rest)

    def close(self) -> None:
        """Holds nothing that must be closed."""


def _only_member(url: str, raw: Any) -> Any:
    """The one file of a zip archive that is not a desktop's litter."""
    with blame(url):
        if not raw.seekable():
            raise Unreadable(url, "cannot be read here and there, as a zip archive must be", "Download it")
        end = raw.seek(0, os.SEEK_END)
        raw.seek(max(0, end - _ZIP_COMMENT))
        tail = raw.read(_ZIP_COMMENT)
        place = tail.rfind(_ZIP_END)
        if int.from_bytes(tail[place + 12 : place + 16], "little") > _ZIP_DIRECTORY and place >= 0:
            raise Unreadable(url, "holds a list of members too long to read", "A source is one caption file a zip")
        archive = zipfile.ZipFile(raw)
        members = [one for one in archive.infolist() if not one.is_dir() and not is_litter(one.filename)]
    if len(members) != 1:
        names = ", ".join(ascii(one.filename)[1:-1] for one in members[:5]) + (", …" if len(members) > 5 else "")
        what = f"holds {len(members)} files ({names})" if members else "holds no file"
        raise Unreadable(url, f"{what}, and a zipped source is one", "Unpack it and name the files in the recipe")
    [member] = members
    if member.flag_bits & 1:
        raise Unreadable(url, "is encrypted", "Unpack it")
    try:
        with blame(url):
            return archive.open(member)
    except NotImplementedError as error:
        raise Unreadable(url, f"cannot be unpacked here: {error}", "Pack it again with deflate, or as .gz") from error


def is_litter(name: str) -> bool:
    """Whether a name in an archive is what a desktop leaves beside files: it never holds anybody's data."""
    *folders, last = name.replace("\\", "/").split("/")
    return last.startswith("._") or last in (".DS_Store", "Thumbs.db", "desktop.ini") or "__MACOSX" in folders


def lines(url: str, limit: int, *, returns: bool = False, about: About | None = None) -> Iterator[bytes]:
    r"""The lines of a file without their ends. Only \n and \r\n end a line; a byte order mark is dropped.

    A line longer than `limit` bytes comes as `Overlong`: it is one line, but never held whole.

    Args:
        returns: keep the \r of \r\n, where a line break may be part of a cell.
        about: is told how many lines the file has, counted by their ends.

    Raises:
        Unreadable: if the file is no lines of text, with what it is.
    """
    about = About() if about is None else about
    about.in_file = 0
    with opened(url) as handle:
        with blame(url):
            block = _first(handle, sniffing.HEAD)
        if what := sniffing.foreign(block):
            raise Unreadable(url, *what)
        block = block.removeprefix(_BOM)
        rest, skipping, ended = b"", False, True
        while block:
            about.in_file += block.count(b"\n")
            ended = block.endswith(b"\n")
            if skipping:
                end = block.find(b"\n")
                if end < 0:
                    block = _next_block(url, handle)
                    continue
                block, skipping = block[end + 1 :], False
            pieces = (rest + block).split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                line = piece[:-1] if piece.endswith(b"\r") and not returns else piece
                yield line if len(line) <= limit else Overlong(line[:CONTENT_BYTES])
            if len(rest) > limit + 1:  # one more for a carriage return that may belong to the end
                yield Overlong(rest[:CONTENT_BYTES])
                rest, skipping = b"", True
            block = _next_block(url, handle)
        about.in_file += not ended
        if rest:
            yield rest if len(rest) <= limit else Overlong(rest[:CONTENT_BYTES])


def _next_block(url: str, handle: Any) -> bytes:
    with blame(url):
        block: bytes = handle.read(_BLOCK)
    return block


def modified(url: str) -> list[Any]:
    """Size and time of change (local) or size and entity tag (elsewhere), without reading the file.

    A server that tells neither a tag nor a time is read from: then it is size and a hash of the content.
    """
    with blame(url):
        filesystem, path = access.filesystem(url)
        if isinstance(filesystem, LocalFileSystem):
            found = os.stat(path)
            return [found.st_size, found.st_mtime_ns]
        filesystem.invalidate_cache()
        info = filesystem.info(path)
    mark = mark_of(info)
    return mark if len(mark) > 1 else [*mark, _hash(url, filesystem, path)]


def mark_of(info: dict[str, Any]) -> list[Any]:
    """Size and tag, as an object store's client or a web server's headers tell them; size alone without any tag."""
    told = {key.lower(): value for key, value in info.items()}
    return [told.get("size"), *[str(told[key]) for key in _TAGS if told.get(key) is not None][:1]]


def _hash(url: str, filesystem: Any, path: str) -> str:
    digest, count = hashlib.sha256(), 0
    with blame(url):
        streamed = {"block_size": 0} if url.partition("://")[0].lower() in access.WEB else {}
        with filesystem.open(path, "rb", **streamed) as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
                count += len(block)
                if count > _HASHED:
                    what = "has neither ETag nor Last-Modified, and is too large to be read whole only to see a change"
                    raise Unreadable(url, what, "Let the server send one of them, or download the file")
    return digest.hexdigest()
