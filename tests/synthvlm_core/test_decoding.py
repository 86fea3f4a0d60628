"""Foreign pictures become RGB as a person would see them, or one kind of error."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageCms
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageOps

from synthvlm_core import decoding
from synthvlm_core.decoding import FORMATS, UndecodableImage, decode
from synthvlm_core.errors import Mendable
from synthvlm_core.images import encoding
from synthvlm_core.parts.generator import Encoding

OURS = [
    Encoding(format="png"),
    Encoding(format="jpeg", quality=95),
    Encoding(format="webp"),
    Encoding(format="webp", quality=90),
]


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1).astype(np.uint8)


def saved(image: PIL.Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> np.ndarray:
    found = decode(data)
    assert found.mode == "RGB"
    return np.asarray(found)


@pytest.mark.parametrize("ours", OURS)
def test_our_own_pictures_are_what_pillow_says(ours: Encoding) -> None:
    data = encoding.encode(picture(), ours)
    assert np.array_equal(pixels(data), np.asarray(PIL.Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photograph_is_put_upright(orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[0x0112] = orientation
    data = saved(PIL.Image.fromarray(picture()), "PNG", exif=exif)
    upright = ImageOps.exif_transpose(PIL.Image.open(io.BytesIO(data)))
    assert upright.size == ((64, 48) if orientation < 5 else (48, 64))
    assert np.array_equal(pixels(data), np.asarray(upright))


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0garbage", b"Exif\0\0MM\0\x2a\xff\xff\xff\xff", b"Exif\0\0II\x2a\0\x08\0\0\0\x09"]
)
def test_unreadable_exif_is_no_orientation(exif: bytes) -> None:
    data = saved(PIL.Image.fromarray(picture()), "JPEG", quality=95, exif=exif)
    assert decode(data).size == (64, 48)


def test_transparency_lies_on_white() -> None:
    alpha = np.zeros((48, 64), dtype=np.uint8)
    alpha[:, 32:], alpha[:, 48:] = 128, 255
    data = saved(PIL.Image.fromarray(np.dstack([picture(), alpha])))
    found = pixels(data)
    assert (found[:, :32] == 255).all()
    assert np.array_equal(found[:, 48:], picture()[:, 48:])
    half = (picture()[:, 32:48].astype(float) * 128 + 255.0 * 127) / 255
    assert np.abs(found[:, 32:48] - half).max() <= 1.0


def test_grey_with_transparency_lies_on_white() -> None:
    grey = PIL.Image.new("LA", (2, 1))
    grey.putdata([(100, 0), (100, 255)])
    assert pixels(saved(grey)).tolist() == [[[255] * 3, [100] * 3]]


@pytest.mark.parametrize("transparent", [None, 1])
def test_a_palette_gives_its_colours(transparent: int | None) -> None:
    image = PIL.Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    options = {} if transparent is None else {"transparency": transparent}
    second = [200, 100, 0] if transparent is None else [255, 255, 255]
    assert pixels(saved(image, **options)).tolist() == [[[10, 20, 30], second]]


def test_one_transparent_colour_lies_on_white() -> None:
    image = PIL.Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], dtype=np.uint8))
    assert pixels(saved(image, transparency=(1, 2, 3))).tolist() == [[[255] * 3, [4, 5, 6]]]


def test_grey_and_black_and_white_fill_all_channels() -> None:
    assert pixels(saved(PIL.Image.fromarray(np.array([[0, 128, 255]], dtype=np.uint8)))).tolist() == [
        [[0] * 3, [128] * 3, [255] * 3]
    ]
    assert pixels(saved(PIL.Image.fromarray(np.array([[True, False]])))).tolist() == [[[255] * 3, [0] * 3]]


def test_sixteen_bits_of_grey_are_scaled_and_not_cut_off() -> None:
    values = np.array([[0, 257, 32768, 65278, 65535]], dtype=np.uint16)
    assert pixels(saved(PIL.Image.fromarray(values))).tolist() == [[[v] * 3 for v in (0, 1, 128, 254, 255)]]
    keyed = png(5, 1, 16, 0, values.astype(">u2").tobytes(), [(b"tRNS", struct.pack(">H", 257))])
    assert pixels(keyed)[0, :, 0].tolist() == [0, 255, 128, 254, 255]


def test_sixteen_bits_of_colour_keep_their_upper_half() -> None:
    colours = struct.pack(">6H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0x8000)
    assert pixels(png(2, 1, 16, 2, colours)).tolist() == [[[0x12, 0x56, 0x9A], [0xFF, 0, 0x80]]]


def png_of(chunks: list[tuple[bytes, bytes]]) -> bytes:
    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


def png(width: int, height: int, depth: int, colour: int, rows: bytes, chunks: list[tuple[bytes, bytes]] = []) -> bytes:  # noqa: B006
    """A PNG of one row's worth of bytes per line, as Pillow cannot write it."""
    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)), *chunks]
    return png_of([*parts, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")])


@pytest.mark.parametrize("marked", [True, False])
def test_print_colours_become_screen_colours(marked: bool) -> None:
    data = saved(PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)
    at = data.index(b"\xff\xee")
    assert data[at + 4 : at + 9] == b"Adobe"
    if not marked:
        data = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    red = pixels(data)[8, 8]
    assert red[0] > 230
    assert max(red[1:]) < 25


@pytest.mark.parametrize(
    ("depth", "row", "key", "seen"),
    [
        (1, 0b1000_0000, 1, [255, 0]),
        (2, 0b0100_0000, 1, [255, 0]),
        (2, 0b0110_0000, 2, [85, 255]),
        (4, 0x3F, 3, [255, 255]),
        (4, 0x35, 5, [51, 255]),
    ],
)
def test_a_transparent_grey_is_found_at_every_depth(depth: int, row: int, key: int, seen: list[int]) -> None:
    found = pixels(png(2, 1, depth, 0, bytes([row]), [(b"tRNS", struct.pack(">H", key))]))
    assert found[0, :, 0].tolist() == seen


def test_a_transparent_colour_of_sixteen_bits_is_found() -> None:
    colours = struct.pack(">6H", 1000, 2000, 3000, 4000, 5000, 6000)
    found = pixels(png(2, 1, 16, 2, colours, [(b"tRNS", struct.pack(">3H", 1000, 2000, 3000))]))
    assert found.tolist() == [[[255] * 3, [4000 >> 8, 5000 >> 8, 6000 >> 8]]]


def test_sixteen_bits_with_transparency_lie_on_white() -> None:
    grey = struct.pack(">4H", 0x1234, 0xFFFF, 0x8000, 0)
    assert pixels(png(2, 1, 16, 4, grey)).tolist() == [[[0x12] * 3, [255] * 3]]
    colour = struct.pack(">8H", 0x1234, 0x5678, 0x9ABC, 0xFFFF, 0, 0, 0, 0)
    assert pixels(png(2, 1, 16, 6, colour)).tolist() == [[[0x12, 0x56, 0x9A], [255] * 3]]


def profile(red: Any, green: Any, blue: Any, gamma: float, name: bytes) -> bytes:
    """An ICC profile of a screen: where its primaries lie in XYZ under D50, and its gamma."""

    def fixed(*values: float) -> bytes:
        return b"".join(struct.pack(">i", round(value * 65536)) for value in values)

    white = fixed(0.9642, 1.0, 0.8249)
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", len(name) + 1) + name + b"\0" * 79,
        b"cprt": b"text\0\0\0\0none\0",
        b"wtpt": b"XYZ \0\0\0\0" + white,
    }
    for letter, primary in zip("rgb", (red, green, blue), strict=True):
        tags[f"{letter}XYZ".encode()] = b"XYZ \0\0\0\0" + fixed(*primary)
        tags[f"{letter}TRC".encode()] = b"curv\0\0\0\0" + struct.pack(">IH", 1, round(gamma * 256)) + b"\0\0"
    index, body = struct.pack(">I", len(tags)), b""
    for tag, value in tags.items():
        padded = value + b"\0" * (-len(value) % 4)
        index += tag + struct.pack(">II", 132 + 12 * len(tags) + len(body), len(value))
        body += padded
    size = 128 + len(index) + len(body)
    head = struct.pack(">I4xI", size, 0x02400000) + b"mntrRGB XYZ " + b"\0" * 12 + b"acsp" + b"\0" * 28 + white
    return head.ljust(128, b"\0") + index + body


ADOBE_RGB = profile(
    (0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457), 2.199, b"Adobe RGB (1998)"
)
SRGB = PIL.ImageCms.ImageCmsProfile(PIL.ImageCms.createProfile("sRGB")).tobytes()


def test_colours_of_a_profile_become_srgb() -> None:
    """(150, 200, 100) of Adobe RGB is (124, 201, 92) of sRGB, to within one: by the matrices of both standards."""
    seen = [124, 201, 92]
    for image in (PIL.Image.new("RGB", (4, 4), (150, 200, 100)), PIL.Image.new("P", (4, 4))):
        if image.mode == "P":
            image.putpalette([150, 200, 100])
        assert np.abs(pixels(saved(image, icc_profile=ADOBE_RGB))[0, 0].astype(int) - seen).max() <= 1
    half = pixels(saved(PIL.Image.new("RGBA", (4, 4), (150, 200, 100, 128)), icc_profile=ADOBE_RGB))[0, 0]
    assert np.abs(half - (np.array(seen) * 128 + 255 * 127) / 255).max() <= 2


def test_srgb_stays_as_it_is_to_the_value() -> None:
    assert np.array_equal(pixels(saved(PIL.Image.fromarray(picture()), icc_profile=SRGB)), picture())


@pytest.mark.parametrize(
    "bad", [b"x", SRGB[:200], SRGB[:128] + b"\xff" * 400, b"\0" * 5_000_000], ids=["no", "cut", "spoilt", "large"]
)
def test_a_profile_that_cannot_be_followed_is_left_out(bad: bytes) -> None:
    data = saved(PIL.Image.fromarray(picture()), "JPEG", quality=95, icc_profile=bad)
    assert np.array_equal(pixels(data), pixels(saved(PIL.Image.fromarray(picture()), "JPEG", quality=95)))


def test_a_profile_of_another_kind_is_left_out() -> None:
    assert pixels(saved(PIL.Image.new("L", (2, 2), 150), icc_profile=ADOBE_RGB))[0, 0].tolist() == [150] * 3


@pytest.mark.parametrize("kind", ["progressive", "interlaced"])
def test_how_rows_are_ordered_in_a_file_changes_nothing(kind: str) -> None:
    if kind == "progressive":
        plain, ordered = (saved(PIL.Image.fromarray(picture()), "JPEG", progressive=way) for way in (False, True))
        assert np.abs(pixels(plain).astype(int) - pixels(ordered)).max() <= 1
        return
    values = np.arange(64, dtype=np.uint8).reshape(8, 8)
    passes = [(0, 8, 0, 8), (0, 8, 4, 8), (4, 8, 0, 4), (0, 4, 2, 4), (2, 4, 0, 2), (0, 2, 1, 2), (1, 2, 0, 1)]
    lines = b"".join(
        b"\0" + row.tobytes() for top, down, left, right in passes for row in values[top::down, left::right]
    )
    head = struct.pack(">2I5B", 8, 8, 8, 0, 0, 0, 1)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    assert np.array_equal(pixels(png_of(chunks))[..., 0], values)


def test_a_bitmap_from_top_to_bottom_is_not_upside_down() -> None:
    def bitmap(height: int) -> bytes:
        head = (
            b"BM" + struct.pack("<I4xI", 62, 54) + struct.pack("<IiiHHIIiiII", 40, 1, height, 1, 24, 0, 8, 0, 0, 0, 0)
        )
        return head + bytes([255, 0, 0, 0, 0, 0, 255, 0])

    below, above = (np.asarray(decode(bitmap(height), formats=("BMP",))) for height in (2, -2))
    assert above.tolist() == [[[0, 0, 255]], [[255, 0, 0]]]
    assert np.array_equal(below, above[::-1])


def test_what_would_grow_without_bound_is_refused_by_its_head() -> None:
    for size, message in (
        ((0, 8), "neither JPEG"),
        ((100_000, 600), "a side has more than 32768"),
        ((1010, 10), "more than 100 times the other"),
    ):
        head = struct.pack(">2I5B", *size, 8, 0, 0, 0, 0)
        with pytest.raises(UndecodableImage, match=message):
            decode(png_of([(b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]))
    assert decode(png(1000, 10, 8, 0, bytes(10_000))).size == (1000, 10)


@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_chunk_that_unpacks_to_much_is_refused(chunk: bytes) -> None:
    packed = zlib.compress(bytes(80_000_000))
    head = b"a\0\1\0\0\0" if chunk == b"iTXt" else b"a\0\0"
    with pytest.raises(UndecodableImage, match="too large"):
        decode(png(1, 1, 8, 2, bytes(3), [(chunk, head + packed)]))


def test_a_jpeg_of_a_thousand_scans_is_refused() -> None:
    data = saved(PIL.Image.fromarray(picture()), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    with pytest.raises(UndecodableImage, match="more than 100 scans"):
        decode(data[:-2] + data[last:-2] * 1000 + data[-2:])


@pytest.mark.parametrize("format", ["TIFF", "ICO", "PPM", "TGA"])
def test_further_formats_of_pillow_are_not_opened(format: str) -> None:
    with pytest.raises(UndecodableImage):
        decode(saved(PIL.Image.new("F" if format == "TIFF" else "RGB", (16, 16)), format))


def test_a_preview_behind_a_photograph_is_left_out() -> None:
    first, second = PIL.Image.fromarray(picture()), PIL.Image.fromarray(picture()[::-1])
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert PIL.Image.open(io.BytesIO(data)).n_frames == 2
    assert np.abs(pixels(data).astype(int) - picture()).mean() < 5


@pytest.mark.parametrize("format", ["PNG", "WEBP", "GIF"])
def test_animations_are_refused(format: str) -> None:
    frames = [PIL.Image.fromarray(picture()), PIL.Image.fromarray(picture()[::-1])]
    with pytest.raises(UndecodableImage, match="animation"):
        decode(saved(frames[0], format, save_all=True, append_images=frames[1:]), formats=(*FORMATS, "GIF"))


def test_the_bound_on_pixels_is_exact_and_comes_before_unpacking() -> None:
    data = saved(PIL.Image.fromarray(picture()))
    assert decode(data, max_pixels=64 * 48).size == (64, 48)
    with pytest.raises(UndecodableImage, match="64 x 48 pixels are more than 3071"):
        decode(data, max_pixels=64 * 48 - 1)
    huge = bytearray(data)
    huge[16:24] = (200_000).to_bytes(4, "big") * 2
    huge[29:33] = zlib.crc32(bytes(huge[12:29])).to_bytes(4, "big")
    with pytest.raises(UndecodableImage):
        decode(bytes(huge))


def test_only_the_formats_asked_for_are_read() -> None:
    data = saved(PIL.Image.fromarray(picture()), "GIF")
    with pytest.raises(UndecodableImage, match="neither JPEG, PNG nor WEBP"):
        decode(data)
    assert decode(data, formats=("GIF",)).size == (64, 48)
    with pytest.raises(UndecodableImage, match="no JPEG"):
        decode(saved(PIL.Image.fromarray(picture())), formats=("JPEG",))


def test_truncated_and_foreign_bytes_are_mendable() -> None:
    data = saved(PIL.Image.fromarray(picture()))
    for bad in (b"", b"no picture", data[: len(data) // 2], data[:-20]):
        with pytest.raises(Mendable):
            decode(bad)
    with pytest.raises(UndecodableImage):
        decode(saved(PIL.Image.fromarray(picture()), "JPEG")[:-200])


def test_no_other_module_opens_a_picture() -> None:
    core = Path(decoding.__file__).parent
    opening = [
        path for path in core.rglob("*.py") if re.search(r"Image\.open\(|imread\(|decode_image\(", path.read_text())
    ]
    assert opening == [Path(decoding.__file__)]


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40), st.sampled_from(OURS))
def test_corrupt_bytes_give_a_picture_or_one_kind_of_error(at: int, patch: bytes, ours: Encoding) -> None:
    data = bytearray(encoding.encode(picture(), ours))
    at %= len(data)
    data[at : at + len(patch)] = patch
    try:
        assert decode(bytes(data)).mode == "RGB"
    except UndecodableImage:
        pass
