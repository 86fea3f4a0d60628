"""Drawn pictures to bytes: what is kept, what is lost, and that the same pixels give the same bytes."""

import hashlib
import io

import numpy as np
import PIL.Image
import pytest

from synthvlm_core.decoding import decode
from synthvlm_core.images import encoding
from synthvlm_core.parts.generator import Encoding

JPEG = Encoding(format="jpeg", quality=95, subsampling="4:4:4")
PNG, WEBP = Encoding(format="png"), Encoding(format="webp")


def picture(height: int = 48, width: int = 64) -> np.ndarray:
    """Saturated edges over a gradient: what halved colour resolution harms."""
    y, x = np.mgrid[0:height, 0:width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], axis=-1).astype(np.uint8)
    pixels[8:20, 8:20] = (255, 0, 0)
    pixels[24:36, 30:50] = (0, 0, 255)
    return pixels


@pytest.mark.parametrize("lossless", [PNG, WEBP])
def test_lossless_formats_give_the_pixels_back(lossless: Encoding) -> None:
    assert np.array_equal(decode(encoding.encode(picture(), lossless)), picture())


@pytest.mark.parametrize("settings", [JPEG, PNG, WEBP, Encoding(format="webp", quality=90)])
def test_bytes_are_deterministic_and_without_metadata(settings: Encoding) -> None:
    data = encoding.encode(picture(), settings)
    assert encoding.encode(picture().copy(order="F"), settings) == data
    with PIL.Image.open(io.BytesIO(data)) as found:
        assert found.format == settings.format.upper()
        assert found.size == (64, 48)
        assert set(found.info) <= {"jfif", "jfif_version", "jfif_unit", "jfif_density", "loop", "background"}
        assert not found.getexif()


def test_whole_colour_and_quality_95_lose_far_less_than_the_default() -> None:
    def error(settings: Encoding) -> float:
        found = np.asarray(decode(encoding.encode(picture(), settings)), dtype=float)
        return float(np.square(found - picture()).mean())

    ours, default = error(JPEG), error(Encoding(format="jpeg", quality=75, subsampling="4:2:0"))
    assert ours * 10 < default
    assert encoding.encode(picture(), Encoding(format="jpeg", quality=95)) == encoding.encode(picture(), JPEG)


def test_only_rgb_bytes_are_encoded() -> None:
    for pixels in (picture().astype(np.float32), picture()[..., 0], picture()[..., :2]):
        with pytest.raises(ValueError, match="height x width x 3"):
            encoding.encode(pixels, PNG)


def test_floats_are_rounded_to_nearest() -> None:
    values = np.array([[[0.0, 0.5 / 255 - 1e-6, 0.5 / 255 + 1e-6], [1.0, 1.5, -0.2], [np.nan, np.inf, 254.6 / 255]]])
    assert encoding.to_bytes(values).tolist() == [[[0, 0, 1], [255, 255, 0], [0, 255, 255]]]


def test_a_path_is_the_hash_of_the_bytes() -> None:
    data = encoding.encode(picture(), JPEG)
    assert encoding.file_name(data, "jpeg") == f"{hashlib.sha256(data).hexdigest()}.jpg"
