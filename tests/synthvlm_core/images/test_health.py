"""Healthy, flat, not a number or refused: told from the pixels, exact at the bound."""

import numpy as np
import pytest

from synthvlm_core.images.encoding import to_bytes
from synthvlm_core.images.health import health

NOISE = np.random.default_rng(0).random((16, 16, 3), dtype=np.float32)


@pytest.mark.parametrize("colour", [(0, 0, 0), (1, 1, 1), (0.5, 0.5, 0.5), (1, 0, 0), (0.2, 0.9, 0.4)])
def test_one_colour_is_flat_whatever_the_colour(colour: tuple[float, ...]) -> None:
    plain = np.full((16, 16, 3), colour, dtype=np.float32)
    assert health(plain, 2.0) == "flat"
    assert health(to_bytes(plain), 2.0) == "flat"


def test_not_a_number_is_seen_before_rounding() -> None:
    for value in (np.nan, np.inf):
        pixels = NOISE.copy()
        pixels[3, 4, 1] = value
        assert health(pixels, 2.0) == "nan"


def test_a_picture_is_healthy() -> None:
    assert health(NOISE, 2.0) == "ok"


@pytest.mark.parametrize("std", [1.0, 1.9, 2.1, 3.0])
def test_the_bound_is_the_spread_on_the_scale_to_255_and_the_stored_picture_agrees(std: float) -> None:
    half = np.full((16, 16, 3), 100.0)
    half[:8] += 2 * std
    verdict = health(half / 255, 2.0)
    assert verdict == health(to_bytes(half / 255), 2.0)
    assert health((half / 255).astype(np.float32), std + 0.6) == "flat"
    assert health((half / 255).astype(np.float32), std - 0.6) == "ok"


def spread(levels: int) -> np.ndarray:
    """Two grey halves whose distance from their mean is exactly `levels`."""
    pixels = np.full((16, 16, 3), 100, dtype=np.uint8)
    pixels[:8] += 2 * levels
    return pixels


@pytest.mark.parametrize("levels", [1, 2, 5, 60])
def test_the_bound_itself_is_healthy_and_the_next_number_is_not(levels: int) -> None:
    for pixels in (spread(levels), (spread(levels) / 255).astype(np.float32)):
        assert health(pixels, float(levels)) == "ok"
        assert health(pixels, float(np.nextafter(levels, 256))) == "flat"
        assert health(pixels, float(np.nextafter(levels, 0))) == "ok"


def test_no_pixels_are_a_refusal() -> None:
    assert health(None, 0.0) == "refused"
