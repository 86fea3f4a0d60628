"""Colourfulness: how vivid the colours of an image are.

Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images", the metric M3 of section 6:

    rg = R - G,   yb = (R + G) / 2 - B
    M3 = sqrt(std(rg)² + std(yb)²) + 0.3 * sqrt(mean(rg)² + mean(yb)²)

over all pixels, channels from 0 to 255, population deviations. 0 is grey; the paper's scale calls 15 slightly, 33
moderately, 59 quite and 109 extremely colourful.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer


class Colourfulness(Score):
    """The metric M3 of Hasler and Süsstrunk."""

    score: Literal["colourfulness"]
    version = 1
    label = "colourfulness"
    meaning = "vividness of the image's colours, M3 of Hasler and Süsstrunk 2003"
    bound = 1e-9

    def load(self, context: Context) -> Scorer:
        return scores


def scores(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
    """M3 of RGB images, at least 0. Captions do not matter."""
    return np.array([_m3(np.asarray(image, dtype=np.float64)) for image in images], dtype=np.float64)


def _m3(pixels: NDArray[np.float64]) -> float:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    opponents = red - green, (red + green) / 2 - blue
    spread = np.hypot(*(opponent.std() for opponent in opponents))
    return float(spread + 0.3 * np.hypot(*(opponent.mean() for opponent in opponents)))
