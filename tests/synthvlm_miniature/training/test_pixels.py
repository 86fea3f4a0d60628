import numpy as np

from synthvlm_miniature.training.pixels import to_pixels, to_tensor


def test_bytes_come_back() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    tensor = to_tensor(pixels)
    assert tensor.shape == (2, 3, 64, 64)
    assert -1 <= float(tensor.min()) < float(tensor.max()) <= 1
    assert np.array_equal(to_pixels(tensor), pixels)
