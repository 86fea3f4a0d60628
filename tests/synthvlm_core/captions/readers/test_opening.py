"""Text files: packed ones, long lines, and files that are not what their names say."""

import bz2
import gzip
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from caption_files import fails, picked, read

from synthvlm_core.captions.files import SourceError

PACKERS: dict[str, Callable[[bytes], bytes]] = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_text(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"cc.tsv{suffix}").write_bytes(PACKERS[suffix](b"a ball\thttp://a\n" * 3))
    captions, _ = read(tmp_path, "cc3m", "*.tsv.*")
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
        ("packed.tsv", gzip.compress(b"a\tb\n"), r"is a \.gz file by its first bytes.*Rename"),
        ("table.tsv", b"PAR1....", r"is a \.parquet file"),
        ("swapped.tsv", b"http://a\tcaption\n" * 30, "Write format: cc12m"),
    ],
)
def test_text_that_is_not_what_its_name_says(tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    fails(tmp_path, rf"{name}: .*{match}", "cc3m", name)
