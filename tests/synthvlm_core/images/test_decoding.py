"""Foreign pictures become RGB as a person would see them, or one kind of error."""

import io
import struct
import zlib
from typing import Any

import numpy as np
import PIL.Image
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ImageOps

from synthvlm_core.errors import Mendable
from synthvlm_core.images import encoding
from synthvlm_core.images.decoding import UndecodableImage, decode
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


def png(width: int, height: int, depth: int, colour: int, rows: bytes, chunks: list[tuple[bytes, bytes]] = []) -> bytes:  # noqa: B006
    """A PNG of one row's worth of bytes per line, as Pillow cannot write it."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    stride = len(rows) // height
    lines = b"".join(b"\0" + rows[start : start + stride] for start in range(0, len(rows), stride))
    parts = [(b"IHDR", struct.pack(">2I5B", width, height, depth, colour, 0, 0, 0)), *chunks]
    parts += [(b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def test_print_colours_become_screen_colours() -> None:
    image = PIL.Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    red = pixels(saved(image, "JPEG", quality=95))[8, 8]
    assert red[0] > 230
    assert max(red[1:]) < 25


def test_a_preview_behind_a_photograph_is_left_out() -> None:
    first, second = PIL.Image.fromarray(picture()), PIL.Image.fromarray(picture()[::-1])
    data = saved(first, "MPO", save_all=True, append_images=[second], quality=95)
    assert PIL.Image.open(io.BytesIO(data)).n_frames == 2
    assert np.abs(pixels(data).astype(int) - picture()).mean() < 5


@pytest.mark.parametrize("format", ["PNG", "WEBP"])
def test_animations_are_refused(format: str) -> None:
    frames = [PIL.Image.fromarray(picture()), PIL.Image.fromarray(picture()[::-1])]
    with pytest.raises(UndecodableImage, match="animation"):
        decode(saved(frames[0], format, save_all=True, append_images=frames[1:]))


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


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=40), st.sampled_from(OURS))
def test_corrupt_bytes_give_a_picture_or_one_kind_of_error(at: int, patch: bytes, ours: Encoding) -> None:
    data = bytearray(encoding.encode(picture(), ours))
    at %= len(data)
    data[at : at + len(patch)] = patch
    try:
        assert decode(bytes(data)).mode == "RGB"
    except UndecodableImage:
        pass
