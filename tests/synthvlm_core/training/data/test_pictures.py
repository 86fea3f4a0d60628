import io
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from synthvlm_core.training.data import pictures
from synthvlm_core.training.data.pictures import Pictures, decoded, local_file
from synthvlm_core.training.data.rows import DataError


def encoded(colour: str, size: tuple[int, int] = (20, 10)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    (tmp_path / "folder" / "coco").mkdir(parents=True)
    (tmp_path / "folder" / "coco" / "1.png").write_bytes(encoded("red"))
    with zipfile.ZipFile(tmp_path / "pictures.zip", "w") as archive:
        archive.writestr("coco/1.png", encoded("blue"))
    return tmp_path


def test_an_archive_comes_before_a_folder(beside: Path) -> None:
    there = Pictures(beside / "pictures.zip", beside / "folder")
    assert "coco/1.png" in there
    assert there.open("coco/1.png", "row 1").getpixel((0, 0)) == (0, 0, 255)
    (beside / "pictures.zip").unlink()
    there = Pictures(beside / "pictures.zip", beside / "folder")
    assert there.open("coco/1.png", "row 1").getpixel((0, 0)) == (255, 0, 0)
    assert "coco/2.png" not in there


@pytest.mark.parametrize("archive", [True, False])
def test_a_picture_that_is_missing_or_too_large_is_named(
    beside: Path, archive: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Pictures(beside / ("pictures.zip" if archive else "none.zip"), beside / "folder")
    with pytest.raises(DataError, match=r"row 7: no picture 'coco/2.png' in .*add it"):
        there.read("coco/2.png", "row 7")
    monkeypatch.setattr(pictures, "MAX_BYTES", 10)
    with pytest.raises(DataError, match=r"row 7: picture 'coco/1.png' is larger than 10 bytes"):
        there.read("coco/1.png", "row 7")


def test_damaged_archives_are_named(beside: Path) -> None:
    archive = beside / "pictures.zip"
    whole = archive.read_bytes()
    at = whole.index(b"IDAT") + 8
    archive.write_bytes(whole[:at] + b"\0\1\2\3" + whole[at + 4 :])
    with pytest.raises(DataError, match=r"row 7: picture 'coco/1.png' cannot be read \(Bad CRC"):
        Pictures(archive, beside).read("coco/1.png", "row 7")
    archive.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"pictures\.zip: no readable zip archive"):
        Pictures(archive, beside)


def test_bytes_that_are_no_picture_are_refused() -> None:
    assert decoded(encoded("red"), "row 3").size == (20, 10)
    for data in (b"", b"GIF89a", b"<svg/>", encoded("red")[:-20], encoded("red", (8200, 8200))):
        with pytest.raises(DataError, match=r"^row 3: the picture cannot be read"):
            decoded(data, "row 3")


def test_what_a_recipe_names_must_lie_on_this_machine(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a.key: s3://x/y is a URL; copy"):
        local_file("s3://x/y", "a.key", "a list")
    with pytest.raises(ValueError, match=r"a.key: no file /nowhere/x; give a list"):
        local_file("/nowhere/x", "a.key", "a list")
