"""Text files: packed ones, long lines, and files that are not what their names say."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyarrow as pa
import pytest
from caption_files import fails, picked, read
from hypothesis import given
from hypothesis import strategies as st
from web import FileServer

from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import access, opening, sniffing
from synthvlm_core.captions.readers.opening import lines, opened
from synthvlm_core.captions.readers.rows import About
from synthvlm_core.parts.source import Unreadable

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_text(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"cc.tsv{suffix}").write_bytes(PACKERS[suffix](b"a ball\thttp://a\n" * 3))
    captions, _ = read(tmp_path, "cc3m", "*.tsv.*")
    assert len(captions) == 3


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return bytes(sink.getvalue())


@pytest.mark.parametrize("suffix", [*PACKERS, ".zst", ".GZ"])
@pytest.mark.parametrize("padding", [b"", b"\0" * 512])
def test_streams_behind_one_another_are_all_read(tmp_path: Path, suffix: str, padding: bytes) -> None:
    pack = {**PACKERS, ".zst": zstd}[suffix.lower()]
    parts = [pack(f"caption {n}\thttp://a\n".encode() * 1000) for n in range(4)]
    between = padding if suffix.lower() in (".gz", ".xz") else b""
    (tmp_path / f"cc.tsv{suffix}").write_bytes(between.join([*parts, b""]))
    captions, _ = read(tmp_path, "cc3m", f"cc.tsv{suffix}")
    assert [text for (text,) in picked(captions[::1000], "text")] == [f"caption {n}" for n in range(4)]
    assert len(captions) == 4000


@pytest.mark.parametrize("suffix", [*PACKERS, ".zst"])
def test_bytes_behind_the_last_stream_are_told(tmp_path: Path, suffix: str) -> None:
    pack = {**PACKERS, ".zst": zstd}[suffix]
    (tmp_path / f"cc.tsv{suffix}").write_bytes(pack(b"a\thttp://a\n") + b"a cat\thttp://b\n")
    fails(tmp_path, rf"cc\.tsv{suffix}: (has bytes behind|cannot be read)", "cc3m", f"cc.tsv{suffix}")


@pytest.mark.parametrize("suffix", PACKERS)
@given(content=st.lists(st.binary(max_size=3000), min_size=1, max_size=4), cut=st.integers(0, 40))
def test_a_packed_file_gives_its_bytes_or_an_error(suffix: str, content: list[bytes], cut: int) -> None:
    packed = b"".join(map(PACKERS[suffix], content))
    handle = opening._Streams("x", opening._Packed(io.BytesIO(packed)), *opening._CODECS[suffix])
    found = b""
    while block := handle.read(1000):
        found += block
    assert found == b"".join(content)
    short = opening._Streams("x", opening._Packed(io.BytesIO(packed[: -cut - 1])), *opening._CODECS[suffix])
    found = b""
    try:
        while block := short.read(1000):
            found += block
    except (EOFError, Unreadable):
        pass
    else:  # cut where a stream begins
        assert any(found == b"".join(content[:number]) for number in range(len(content)))


def test_a_file_that_unpacks_without_measure_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_LARGE", 8 << 20)
    with zipfile.ZipFile(tmp_path / "bomb.tsv.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.tsv", b"\n" * (16 << 20))
    for suffix, pack in {**PACKERS, ".zst": zstd}.items():
        (tmp_path / f"bomb.tsv{suffix}").write_bytes(pack(b"\n" * (16 << 20)))
    for suffix in (*PACKERS, ".zst", ".zip"):
        told = r"unpacks \d+ bytes to more than \d+\. No list of captions"
        with opened(str(tmp_path / f"bomb.tsv{suffix}")) as handle, pytest.raises(Unreadable, match=told):
            list(iter(partial(handle.read, 1 << 20), b""))
    (tmp_path / "real.tsv.gz").write_bytes(gzip.compress(b"".join(b"%d ball\thttp://a\n" % n for n in range(700_000))))
    with opened(str(tmp_path / "real.tsv.gz")) as handle:
        assert sum(len(block) for block in iter(lambda: handle.read(1 << 20), b"")) > 10 << 20


def zipped(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


LINE = b"a ball\thttp://a\n"
LITTER = {
    "__MACOSX/._cc.tsv": b"\0\5\x16\7",
    ".DS_Store": b"\0",
    "in/._cc.tsv": b"\0",
    "in/Thumbs.db": b"\0",
    "in/": b"",
}


def test_a_zip_of_one_file_and_a_desktops_litter(tmp_path: Path) -> None:
    zipped(tmp_path / "cc.zip", {**LITTER, "in/cc.tsv": LINE, "desktop.ini": b"x"})
    captions, quarantined = read(tmp_path, "cc3m", "cc.zip")
    assert (picked(captions, "file", "text"), quarantined) == ([("cc.zip", "a ball")], [])


@pytest.mark.parametrize(
    ("members", "match"),
    [
        ({"a.tsv": LINE, "b.tsv": LINE}, r"holds 2 files \(a\.tsv, b\.tsv\), and a zipped source is one\. Unpack it"),
        ({f"{n}.tsv": LINE for n in range(9)}, r"holds 9 files \(0\.tsv, .*, …\)"),
        (LITTER, "holds no file"),
        ({}, "holds no file"),
    ],
)
def test_a_zip_of_several_files_or_of_none_is_refused(tmp_path: Path, members: dict[str, bytes], match: str) -> None:
    zipped(tmp_path / "cc.zip", members)
    fails(tmp_path, rf"cc\.zip: {match}", "cc3m", "cc.zip")


def test_zips_that_cannot_be_unpacked(tmp_path: Path) -> None:
    zipped(tmp_path / "cc.zip", {"cc.tsv": LINE * 100})
    whole = (tmp_path / "cc.zip").read_bytes()
    odd = {
        "encrypted.zip": whole.replace(b"PK\1\2\x14\3\x14\0\0", b"PK\1\2\x14\3\x14\0\1"),
        "method.zip": whole.replace(b"PK\1\2\x14\3\x14\0\0\0\0", b"PK\1\2\x14\3\x14\0\0\0\x63"),
        "damaged.zip": whole.replace(b"a ball", b"a bell"),
        "cut.zip": whole[:-30],
        "long.zip": whole[:-10] + b"\xff\xff\xff\x7f" + whole[-6:],
        "no.zip": b"caption\turl\n",
    }
    matches = [
        "is encrypted",
        "cannot be unpacked here",
        "cannot be read: Bad CRC",
        "cannot be read",
        "holds a list of members too long",
    ]
    for (name, content), match in zip(odd.items(), [*matches, "cannot be read"], strict=True):
        (tmp_path / name).write_bytes(content)
        fails(tmp_path, rf"{name}: {match}", "cc3m", name)


def wide(encoding: str) -> bytes:
    return "a ball\thttp://a\na cat\thttp://b\n".encode(encoding)


def as_tar(content: bytes) -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        info = tarfile.TarInfo("cc.tsv")
        info.size = len(content)
        archive.addfile(info, io.BytesIO(content))
    return sink.getvalue()


FOREIGN = {
    "UTF-16": [wide("utf-16"), wide("utf-16-le"), wide("utf-16-be")],
    "UTF-32": [wide("utf-32"), wide("utf-32-le")],
    "carriage return alone": [LINE.replace(b"\n", b"\r") * 3],
    "Git LFS": [b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"],
    "web page": [b"<!DOCTYPE html>\n<html>", b"  <HTML lang=en>\n", b"<?xml version='1.0'?>\n<Error/>"],
    "tar archive": [as_tar(LINE)],
    "Parquet": [b"PAR1...."],
    "PDF": [b"%PDF-1.7\n"],
}


@pytest.mark.parametrize(("what", "content"), [(what, one) for what, contents in FOREIGN.items() for one in contents])
@pytest.mark.parametrize("packed", [False, True])
def test_a_file_that_is_no_text_says_what_it_is(tmp_path: Path, what: str, content: bytes, packed: bool) -> None:
    name = "cc.txt.gz" if packed else "cc.txt"
    (tmp_path / name).write_bytes(gzip.compress(content) if packed else content)
    for kind, more in {"cc3m": {}, "csv": {"columns": {"text": "a"}}, "jsonl": {"columns": {"text": "a"}}}.items():
        fails(tmp_path, rf"(?i){name}: .*{what}", kind, name, **more)
    (tmp_path / "urls").write_bytes(b"u\n")
    fails(tmp_path, rf"(?i){name}: .*{what}", "sbu", name, metadata_files=["urls"])


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"caption,url\na ball,http://a\n", "a CSV of 2 columns, its header caption, url"),
        (b"a;b;c\n" * 9, "a CSV with ; of 3 columns"),
        (b"1\ta ball\thttp://a\t0.3\tx\n" * 9, "a TSV of 5 columns"),
        (b'{"caption": "a", "url": "b"}\n' * 3, "JSON lines with the keys caption, url"),
        (b'{"captions": ["a"]}', "a JSON object"),
        (b'[{"caption": "a"}]', "a JSON list"),
        (b"a ball\na cat\n", "lines of text without columns"),
        (b" \n", "no text at all"),
        (b"\x1f\x8b\x08", "packed with gzip by its first bytes"),
    ],
)
def test_what_a_text_looks_like(content: bytes, what: str) -> None:
    assert sniffing.form(content) == what


@given(st.binary(max_size=300))
def test_whatever_a_file_begins_with_has_a_form(content: bytes) -> None:
    assert sniffing.form(content).isprintable()


@given(st.lists(st.text("ab é\r\t", max_size=9), max_size=9), st.booleans(), st.integers(1, 9))
def test_lines_are_counted_by_their_ends(rows: list[str], ended: bool, limit: int) -> None:
    content = "\n".join(rows).encode() + b"\n" * ended
    if sniffing.foreign(content):
        return
    about = About()
    with Written(content) as url:
        assert len(list(lines(url, limit, about=about))) == about.in_file


class Written:
    """A file for a moment, where there is no fixture."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def __enter__(self) -> str:
        self._file = tempfile.NamedTemporaryFile()
        self._file.write(self._content)
        self._file.flush()
        return self._file.name

    def __exit__(self, *_: object) -> None:
        self._file.close()


def test_a_web_address_with_a_query_is_unpacked_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    with FileServer() as server:
        server.files["/cc.tsv.gz"] = gzip.compress(LINE * 3)
        server.headers |= {"ETag": "x", "Content-Encoding": "gzip"}  # as many servers say of such a file
        captions, _ = read(tmp_path, "cc3m", f"http://127.0.0.1:{server.port}/cc.tsv.gz?part=1")
        assert len(captions) == 3


def test_zstandard_text(tmp_path: Path) -> None:
    with pa.OSFile(str(tmp_path / "cc.tsv.zst"), "wb") as sink, pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(b"a ball\thttp://a\n" * 3)
    captions, _ = read(tmp_path, "cc3m", "cc.tsv.zst")
    assert len(captions) == 3
    whole = (tmp_path / "cc.tsv.zst").read_bytes()
    (tmp_path / "cut.tsv.zst").write_bytes(whole[:-6])
    with pytest.raises(SourceError, match=r"cut\.tsv\.zst"):
        read(tmp_path, "cc3m", "cut.tsv.zst")


def test_a_line_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.tsv.gz", "wb", compresslevel=1) as file:
        file.write(b"first\thttp://a\n")
        for _ in range(96):
            file.write(b"a" * (1 << 20))
        file.write(b"\tend\nlast\thttp://b\n")
    tracemalloc.start()
    captions, quarantined = read(tmp_path, "cc3m", "bomb.tsv.gz")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 40 << 20
    assert picked(captions, "row", "text") == [(0, "first"), (2, "last")]
    assert picked(quarantined, "row", "reason", "content") == [(1, "line longer than 1048576 bytes", b"a" * 4096)]


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("plain.tsv.gz", b"a\tb\n", "cannot be read"),
        ("cut.tsv.gz", gzip.compress(os.urandom(4096))[:-100], "cannot be read"),
        ("cut.tsv.xz", lzma.compress(os.urandom(4096))[:-100], "cannot be read"),
        ("none.tsv.gz", b"", "has no bytes"),
        ("packed.tsv", gzip.compress(b"a\tb\n", mtime=0), r"is a \.gz file by its first bytes.*Rename"),
        ("table.tsv", b"PAR1....", r"is a \.parquet file"),
        ("swapped.tsv", b"http://a\tcaption\n" * 30, "Write format: cc12m"),
    ],
)
def test_text_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    fails(tmp_path, rf"{name}: .*{match}", "cc3m", name)
