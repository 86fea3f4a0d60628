"""SSIM against scikit-image, whose definition it takes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage.metrics import structural_similarity
from tiny_clip import picture

from synthvlm_core.parts.part import Context
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.scoring.scorers import ssim
from synthvlm_core.scoring.scorers.ssim import Ssim


def preset(name: str) -> Ssim:
    [section] = [score for score in recipes.load(name).scores if isinstance(score, Ssim)]
    return section


PAPER, MINIATURE = preset("paper"), preset("miniature")


def reference(image: Image.Image, definition: Ssim) -> float:
    """As the digest's anchors were measured."""
    kernel = Image.Resampling[definition.resample.upper()]
    side = (definition.shrink_to, definition.shrink_to)
    restored = image.resize(side, kernel).resize(image.size, kernel)
    return float(
        structural_similarity(
            np.asarray(image), np.asarray(restored), win_size=definition.window, data_range=255, channel_axis=-1
        )
    )


@pytest.mark.parametrize("definition", [PAPER, MINIATURE], ids=["paper", "miniature"])
@pytest.mark.parametrize("size", [(64, 64), (400, 400), (90, 350), (8, 7)], ids=str)
def test_equals_scikit_image(definition: Ssim, size: tuple[int, int]) -> None:
    image = picture(1, *size)
    assert ssim.score(image, definition) == pytest.approx(reference(image, definition), abs=1e-9)


@given(
    height=st.integers(3, 40),
    width=st.integers(3, 40),
    channels=st.sampled_from([None, 1, 3]),
    window=st.sampled_from([3, 5, 7, 11]),
    data_range=st.sampled_from([1.0, 100.0, 255.0]),
    seed=st.integers(0, 1000),
    noise=st.sampled_from([0, 1, 255]),
)
def test_any_images_equal_scikit_image(
    height: int, width: int, channels: int | None, window: int, data_range: float, seed: int, noise: int
) -> None:
    rng = np.random.default_rng(seed)
    shape = (height, width) if channels is None else (height, width, channels)
    first = rng.integers(0, 256, shape).astype(np.uint8)
    second = (first.astype(int) + rng.integers(-noise, noise + 1, shape)).clip(0, 255).astype(np.uint8)
    axis = None if channels is None else -1
    if window > min(height, width):
        with pytest.raises(ValueError, match="window"):
            ssim.structural_similarity(first, second, window=window, data_range=data_range)
        return
    found = ssim.structural_similarity(first, second, window=window, data_range=data_range)
    expected = structural_similarity(first, second, win_size=window, data_range=data_range, channel_axis=axis)
    assert found == pytest.approx(expected, abs=1e-6)
    if not noise:
        assert found == 1.0


def test_large_windows_do_not_overflow() -> None:
    white = np.full((520, 520), 255, np.uint8)
    black = np.zeros_like(white)
    assert ssim.structural_similarity(white, white, window=511, data_range=255) == 1.0
    expected = structural_similarity(white, black, win_size=511, data_range=255)
    assert ssim.structural_similarity(white, black, window=511, data_range=255) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (13, 200, 77)], ids=str)
def test_a_flat_image_loses_nothing(colour: tuple[int, int, int]) -> None:
    assert ssim.score(Image.new("RGB", (100, 60), colour), PAPER) == 1.0


def test_noise_loses_nearly_everything() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8))
    assert ssim.score(noise, PAPER) == pytest.approx(0.117, abs=0.003)  # the digest's anchor


def test_luma_is_one_channel() -> None:
    luma = PAPER.model_copy(update={"channels": "luma"})
    grey = picture(3).convert("L")
    assert ssim.score(grey.convert("RGB"), luma) == ssim.score(grey.convert("RGB"), PAPER)
    assert ssim.score(picture(3), luma) != ssim.score(picture(3), PAPER)


def test_what_ssim_is_not_defined_on() -> None:
    with pytest.raises(ValueError, match="RGB"):
        ssim.score(picture(0).convert("L"), PAPER)
    with pytest.raises(ValueError, match="odd"):
        ssim.score(picture(0), PAPER.model_copy(update={"window": 8}))
    with pytest.raises(ValueError, match="exceeds an image of 6x20"):
        ssim.score(picture(0, 6, 20), PAPER)
    with pytest.raises(ValueError, match="of bytes"):
        ssim.structural_similarity(np.zeros((9, 9)), np.zeros((9, 9)), window=7, data_range=255)  # type: ignore[arg-type]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_batch_has_the_scores_of_its_pictures(threads: int) -> None:
    images = [picture(number, 64, 40 + number) for number in range(7)]
    found = PAPER.load(Context(folder="", seed=0, threads=threads))(images, ["a caption does not matter"] * 7)
    assert found.dtype == np.float64
    assert found.tolist() == [ssim.score(image, PAPER) for image in images]


def test_loading_a_recipe_loads_no_numba() -> None:
    code = (
        "import sys; from synthvlm_core.recipe import loading; loading.load('paper'); sys.exit('numba' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
