"""What every row becomes: a caption, or a row of the quarantine with a reason."""

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from caption_files import READERS, parquet, picked, read

from synthvlm_core.captions.files import SourceError
from synthvlm_core.parts.part import kinds


def test_strings_of_parquet_are_checked_too(tmp_path: Path) -> None:
    texts = [b"good", b"caf\xe9", None, b"nul\0", b" \n", b"x" * 5000, b"fine"]
    unchecked = pa.Array.from_buffers(pa.string(), len(texts), pa.array(texts, pa.binary()).buffers())
    urls = pa.array([b"u", b"u", b"u", b"u", b"u", b"u", b"\xff"], pa.binary())
    parquet(tmp_path / "part.parquet", TEXT=unchecked, URL=urls)
    captions, quarantined = read(tmp_path, "laion", "part.parquet")
    assert picked(captions, "row", "text") == [(0, "good")]
    assert picked(quarantined, "row", "reason", "content") == [
        (1, "caption is not UTF-8", b"caf\xe9"),
        (2, "no caption", b""),
        (3, "caption holds a NUL byte", b"nul\0"),
        (4, "caption is empty", b" \n"),
        (5, "caption longer than 4096 characters", b"x" * 4096),
        (6, "image url is not UTF-8", b"\xff"),
    ]


@pytest.mark.parametrize("error", [ValueError("odd \udcff"), OverflowError("odd"), RecursionError("odd")])
def test_whatever_a_reader_stumbles_over_names_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def stumbles(*_: Any, **__: Any) -> Any:
        yield from ()
        raise error

    monkeypatch.setattr(kinds(READERS)["cc3m"], "read", stumbles)
    (tmp_path / "cc.tsv").write_bytes(b"")
    with pytest.raises(SourceError, match=r"cc\.tsv: cannot be read: .*odd.*download it again") as named:
        read(tmp_path, "cc3m", "cc.tsv")
    str(named.value).encode()


@pytest.mark.parametrize(
    ("kind", "name", "rows"),
    [
        ("laion", "laion_style/alt_text_half.parquet", 4973),
        ("cc3m", "cc/Validation_GCC_half.tsv", 7996),
        ("img2dataset", "flickr8k/00000.tar", 300),
        ("img2dataset", "flickr8k/00000.parquet", 300),
    ],
)
def test_real_files_add_up(kind: str, name: str, rows: int) -> None:
    folder = os.environ.get("SYNTHVLM_REAL_DATA")
    if not folder:
        pytest.skip("SYNTHVLM_REAL_DATA names no folder of real captions")
    captions, quarantined = read(Path(folder), kind, name)
    assert sorted(row["row"] for row in captions + quarantined) == list(range(rows))
    assert len(quarantined) < 0.01 * rows
