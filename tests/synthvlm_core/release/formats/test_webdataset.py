"""The tar shards as the webdataset library reads them, and what is refused on reading."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_core.release.formats import webdataset
from synthvlm_core.release.formats.webdataset import WebDataset

from .conftest import Write, context_of, rows_of

FORM = WebDataset(format="webdataset")


@pytest.mark.parametrize(("format", "extension"), [("PNG", "png"), ("JPEG", "jpg"), ("WEBP", "webp")])
def test_the_library_reads_pictures_captions_and_columns(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, extension: str
) -> None:
    import webdataset as library

    monkeypatch.setattr(webdataset, "ROWS_PER_FILE", 2)
    rows = rows_of(["a red circle", "zwei. Kreise über 三角形", ""], format=format, extension=extension)
    for name, data in write(FORM, rows, extension=extension).items():
        (tmp_path / name).write_bytes(data)
    shards = str(tmp_path / "train-{00000..00001}-of-00002.tar")
    raw = list(library.WebDataset(shards, shardshuffle=False))
    decoded = list(library.WebDataset(shards, shardshuffle=False).decode("pil"))
    expected = rows.to_pylist()
    assert [sample["__key__"] for sample in raw] == [row["image_id"] for row in expected]
    assert [sample[extension] for sample in raw] == [row["image"]["bytes"] for row in expected]
    assert [sample["txt"] for sample in decoded] == [row["text"] for row in expected]
    assert [sample["json"] for sample in decoded] == [
        {name: value for name, value in row.items() if name != "image"} for row in expected
    ]
    assert [sample[extension].size for sample in decoded] == [(8, 8)] * 3


def members(data: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return tar.getmembers()


def test_headers_say_nothing_of_when_and_by_whom(write: Write) -> None:
    [data] = write(FORM, rows_of(["one", "two"])).values()
    found = {
        (member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in members(data)
    }
    assert found == {(0, 0, 0, "", "", 0o644)}
    assert all(member.name.count(".") == 1 for member in members(data))


def repacked(data: bytes, rename: Callable[[str], str | None]) -> bytes:
    """The members under other names, those named None left out."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=buffer, mode="w") as new:
        for member in old:
            held = old.extractfile(member)
            name = rename(member.name)
            if name is not None:
                member.name = name
                new.addfile(member, held)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            lambda data: repacked(data, lambda name: None if name.endswith(".txt") else name),
            r"members \['json', 'png'\]",
            id="no captions",
        ),
        pytest.param(
            lambda data: repacked(data, lambda name: name.replace(".png", ".jpg")),
            r"members \['jpg', 'json', 'txt'\]",
            id="other pictures",
        ),
        pytest.param(
            lambda data: repacked(data, lambda name: name.replace(".txt", ".x").replace(".png", ".txt")),
            "members",
            id="a picture for a caption",
        ),
        pytest.param(lambda data: data[:700], "is no tar file", id="cut"),
        pytest.param(lambda data: b"no tar at all" * 100, "is no tar file", id="no tar"),
    ],
)
def test_what_is_no_sample_is_named(write: Write, change: Callable[[bytes], bytes], said: str) -> None:
    rows = rows_of(["one", "two"])
    [(name, data)] = write(FORM, rows).items()
    with pytest.raises(ValueError, match=f"webdataset/{name}.*{said}"):
        list(FORM.pairs(lambda _: change(data), [name], context_of(rows)))
