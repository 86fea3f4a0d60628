import io

import numpy as np
import PIL.Image
import pytest

from synthvlm_core.images import encoding
from synthvlm_core.parts.generator import Encoding
from synthvlm_core.pictures import contact_sheets

RED = encoding.encode(np.full((64, 64, 3), (220, 30, 30), np.uint8), Encoding(format="png"))
NOISE = encoding.encode(
    np.random.default_rng(0).integers(0, 256, (256, 192, 3), dtype=np.uint8), Encoding(format="jpeg", quality=95)
)


def opened(data: bytes) -> PIL.Image.Image:
    picture = PIL.Image.open(io.BytesIO(data))
    picture.load()
    return picture


def test_pictures_stand_in_a_grid_with_their_captions() -> None:
    data = contact_sheets.contact_sheet([(RED, "a red picture", "0.31")] * 5, columns=3, cell=100)
    sheet = np.asarray(opened(data)).astype(int)
    red = (sheet[..., 0] > 180) & (sheet[..., 1] < 80)
    assert red.sum() == pytest.approx(5 * 100 * 100, rel=0.03)
    assert not red[:, -100:][sheet.shape[0] // 2 :].any()  # the sixth place is empty
    below = sheet[110:125, 8:108]
    assert (below.min(axis=-1) < 120).any()  # something is written


@pytest.mark.parametrize("count", [0, 1, 30])
def test_a_sheet_is_small_and_deterministic(count: int) -> None:
    items = [(NOISE, "noise that no encoder likes " * 5, f"{i}") for i in range(count)]
    data = contact_sheets.contact_sheet(items)
    assert len(data) < contact_sheets.MAX_BYTES
    assert opened(data).format == "JPEG"
    assert contact_sheets.contact_sheet(items) == data


def test_hostile_captions_and_bytes_harm_nothing() -> None:
    texts = ["", "\x00\u202eevil\n\n", "x" * 10_000, "日本語 🙂", " " * 500, "<script>"]
    data = contact_sheets.contact_sheet([(b"no picture", text, text) for text in texts])
    assert opened(data).size[0] > 0


def test_long_captions_are_cut_with_an_ellipsis() -> None:
    lines = contact_sheets._wrapped("one two three four five six seven", 60, 2)
    assert len(lines) == 2
    assert lines[-1].endswith("…")
    assert all(contact_sheets._font().getlength(line) <= 60 for line in lines)
    assert contact_sheets._wrapped("one two", 200, 2) == ["one two"]
