"""SSIM of an image and itself after the VLM's resize: how much of the image survives shrinking to the model's input.

Belongs here: the section, shrinking and restoring, the mean structural similarity of two images. Does not belong here:
decoding (images) and when images are scored (scored.py).

The similarity is scikit-image's `structural_similarity` with its defaults (uniform window, sample covariance,
K1 = 0.01, K2 = 0.03, windows that lie wholly inside the image), the one that the published means were compared with.
It is computed here from exact integer window sums, which is many times faster and, unlike floating-point filters,
loses nothing to cancellation: see benchmarks/ssim.py. scikit-image is the reference in tests only.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, model_validator

from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer
from synthvlm_core.parts.section import Absent, Positive

K1, K2 = 0.01, 0.03
GREATEST_WINDOW = 511
"""Up to this side every window sum that the kernel multiplies stays below 2**53, where doubles are exact."""

_RESAMPLING = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "lanczos": Image.Resampling.LANCZOS,
}


class Ssim(Score):
    """Structural similarity of an image and itself after shrinking to the VLM's input size and back."""

    score: Literal["ssim"]
    version = 1
    label = "SSIM"
    meaning = "similarity of the image and itself after the VLM's resize and back"
    bound = 1e-5

    shrink_to: Positive
    """Side of the VLM's input, pixels."""
    window: Annotated[int, Field(ge=3, le=GREATEST_WINDOW), Absent(7)] = 7
    resample: Literal["bicubic", "bilinear", "lanczos"]
    channels: Literal["rgb", "luma"]
    data_range: Annotated[Positive, Absent(255)] = 255
    """Largest difference of two values, 255 for bytes that use their whole range."""

    @model_validator(mode="after")
    def _odd(self) -> Self:
        if self.window % 2 == 0:
            raise ValueError(f"window must be odd, not {self.window}")
        return self

    def load(self, context: Context) -> Scorer:
        def scores(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
            with ThreadPoolExecutor(context.threads) as pool:  # the kernel does not hold the interpreter's lock
                return np.array(list(pool.map(lambda image: score(image, self), images)), dtype=np.float64)

        return scores

    def told(self) -> str:
        return f"SSIM: the image against itself after shrinking to {self.shrink_to} pixels and back"


def score(image: Image.Image, definition: Ssim) -> float:
    """SSIM of an image and itself after the VLM's resize and back.

    The image is shrunk to a square of `shrink_to` pixels and restored to its own size, whatever its shape, both times
    by Pillow on bytes; Pillow's kernels are antialiased where they shrink.

    Args:
        image: RGB, each side at least the window.

    Returns:
        A float in [-1, 1]; 1.0 where nothing is lost, as of a flat image.

    Raises:
        ValueError: if the image is not RGB or smaller than the window, or the window is even or too large.
    """
    if image.mode != "RGB":
        raise ValueError(f"SSIM is defined on RGB images, this one is {image.mode}")
    kernel = _RESAMPLING[definition.resample]
    side = definition.shrink_to
    restored = image.resize((side, side), kernel).resize(image.size, kernel)
    if definition.channels == "luma":  # ITU-R 601, rounded to bytes as Pillow does
        image, restored = image.convert("L"), restored.convert("L")
    return structural_similarity(
        np.asarray(image), np.asarray(restored), window=definition.window, data_range=definition.data_range
    )


def structural_similarity(
    first: NDArray[np.uint8], second: NDArray[np.uint8], *, window: int, data_range: float
) -> float:
    """Mean structural similarity (Wang et al. 2004) of two images, as scikit-image defines it.

    Equal to `skimage.metrics.structural_similarity(first, second, win_size=window, data_range=data_range,
    channel_axis=-1)`, up to the rounding of the latter's floating-point filters.

    Args:
        first, second: bytes, (height, width) or (height, width, channels), of one shape; a similarity of images with
            channels is the mean of theirs.
        window: side of the uniform window, odd.
        data_range: largest difference of two values, 255 for bytes that use their whole range.

    Raises:
        ValueError: if shapes or types differ from the above, or the window is even, larger than the image or above 511.
    """
    from synthvlm_core.scoring.scorers import _kernels  # loading a recipe must not load numba

    if first.dtype != np.uint8 or second.dtype != np.uint8 or first.shape != second.shape or first.ndim not in (2, 3):
        raise ValueError(f"two images of bytes of one shape are wanted, not {first.shape} and {second.shape}")
    if window % 2 == 0 or not 3 <= window <= GREATEST_WINDOW:
        raise ValueError(f"the SSIM window must be odd and from 3 to {GREATEST_WINDOW}, not {window}")
    if window > min(first.shape[:2]):
        raise ValueError(f"the SSIM window of {window} pixels exceeds an image of {first.shape[1]}x{first.shape[0]}")
    height, width = first.shape[:2]
    ours, theirs = (
        np.ascontiguousarray(np.moveaxis(image.reshape(height, width, -1), -1, 0)) for image in (first, second)
    )
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    channels = [_kernels.mean_ssim(a, b, window, c1, c2) for a, b in zip(ours, theirs, strict=True)]
    return float(np.mean(channels))
