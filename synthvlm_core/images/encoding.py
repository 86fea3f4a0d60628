"""Drawn pictures to bytes as the recipe says, and the names of those bytes.

Belongs here: rounding, encoding, a stored picture's path. Does not belong here: which settings a format has
(parts/generator.py), decoding (decoding.py), pictures for people (pictures/).

The paper's code saves JPEG at its library's default: quality 75, colour at half resolution. Most of that loss is in
fine texture and saturated edges, which SSIM measures and which a set of synthetic pictures is prized for; quality 95
with whole colour costs about twice the bytes.
"""

import hashlib
import io
from typing import Any

import numpy as np
import PIL.Image
from numpy.typing import NDArray

from synthvlm_core.parts.generator import Encoding

EXTENSIONS = {"jpeg": "jpg", "png": "png", "webp": "webp"}


def to_bytes(pixels: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Values in [0, 1] to 0..255, rounded to nearest; NaN becomes 0."""
    scaled = np.nan_to_num(pixels, nan=0.0, posinf=1.0, neginf=0.0).clip(0.0, 1.0) * 255.0
    return np.asarray(scaled.round(), dtype=np.uint8)


def encode(pixels: NDArray[np.uint8], encoding: Encoding) -> bytes:
    """Encode a picture; the same bytes for the same pixels and Pillow, without metadata.

    Args:
        pixels: height x width x 3, RGB.
        encoding: jpeg takes whole colour where `subsampling` is null; webp without `quality` is lossless.

    Raises:
        ValueError: if the array is no RGB picture.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a picture is height x width x 3 of uint8, this is {pixels.shape} of {pixels.dtype}")
    settings: dict[str, Any] = {}
    if encoding.format == "jpeg":
        settings = {"quality": encoding.quality, "subsampling": encoding.subsampling or "4:4:4"}
    elif encoding.format == "webp":
        settings = {"lossless": True} if encoding.quality is None else {"quality": encoding.quality}
    buffer = io.BytesIO()
    PIL.Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format=encoding.format.upper(), **settings)
    return buffer.getvalue()


def file_name(data: bytes, format: str) -> str:
    """The path of an encoded picture in its row, `<SHA-256 of the bytes>.<extension>`: content can be compared without
    reading any picture."""
    return f"{hashlib.sha256(data).hexdigest()}.{EXTENSIONS[format]}"
