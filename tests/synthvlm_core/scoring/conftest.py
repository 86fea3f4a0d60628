"""Painted pictures to score, with scores that load no model and with a tiny CLIP."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
from harness import GENERATORS, PAINTER, Painter, filter_captions, registered
from numpy.typing import NDArray
from PIL import Image
from tiny_clip import clip_folder, miniature_clip_folder, transformers_clip_folder

from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.score import Score, Scorer
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store

__all__ = ["clip_folder", "miniature_clip_folder", "transformers_clip_folder"]

Edit = Callable[[Recipe, dict[str, object]], Recipe]
SCORERS = "synthvlm_core.scoring.scorers"
SOURCE = "laion"
CAPTIONS = 4
IMAGES = 2 * CAPTIONS
SSIM: dict[str, Any] = {
    "score": "ssim",
    "shrink_to": 32,
    "resample": "bicubic",
    "channels": "rgb",
    "batch_size": 3,
}
BRIGHTNESS: dict[str, Any] = {"score": "brightness", "batch_size": 3}
# batches of three over shards of four: some pictures of a batch come from the next shard


class Brightness(Score):
    """The mean of all bytes of a picture, over 255."""

    score: Literal["brightness"]
    version: ClassVar[int] = 1
    label: ClassVar[str] = "brightness"
    meaning: ClassVar[str] = "mean of all bytes"
    bound: ClassVar[float] = 1e-9
    loads: ClassVar[int] = 0
    """How often it was loaded: as often as a model would have been."""

    def load(self, context: Context) -> Scorer:
        Brightness.loads += 1
        return brightness


def brightness(images: Sequence[Image.Image], captions: Sequence[str]) -> NDArray[np.float64]:
    return np.array([np.asarray(image).mean() / 255 for image in images])


@pytest.fixture
def recipe(small_recipe: Recipe, edited: Edit) -> Iterator[Recipe]:
    """The small recipe with two painted images per caption, scored without a model: SSIM and brightness."""
    with registered(GENERATORS, Painter), registered(SCORERS, Brightness):
        Brightness.loads = 0
        Painter.requests.clear()
        yield edited(
            small_recipe,
            {"generator": PAINTER, "scores": [SSIM, BRIGHTNESS], "selection.weights": {"brightness": 1.0, "ssim": 0.5}},
        )


@pytest.fixture
def clip_recipe(recipe: Recipe, edited: Edit, clip_folder: Path) -> Recipe:
    """The same pictures scored as the paper does: CLIPScore of a tiny CLIP, and SSIM."""
    clip_score = {"score": "clip_score", "model": {"id": str(clip_folder)}, "architecture": "tiny", "batch_size": 4}
    return edited(recipe, {"scores": [clip_score, SSIM], "selection.weights": {"clip_score": 1.0, "ssim": 0.5}})


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first store with images is kept, for the next tests to copy."""
    return tmp_path_factory.mktemp("shelf") / "store"


@pytest.fixture
def drawn(store: Store, recipe: Recipe, shelf: Path) -> Store:
    """A store with the images of both sources, four to a shard."""
    if not shelf.is_dir():
        filter_captions(store, recipe)
        for source in recipe.sources:
            SyntheticImages(store, recipe, source.name).make(shard_rows=4)
        shutil.copytree(store.root, shelf)
    else:
        shutil.copytree(shelf, store.root)
    return store


def pairs(store: Store, recipe: Recipe) -> ScoredPairs:
    """The stage as another process would see it."""
    return ScoredPairs(store, recipe, SOURCE)


def rows_of(store: Store, recipe: Recipe) -> list[dict[str, Any]]:
    return [row for part in pairs(store, recipe).pairs() for row in part.to_pylist()]
