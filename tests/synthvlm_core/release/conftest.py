"""A store with real scores of real files, made once by the stages before, and what tests of a release ask of one."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from synthvlm_core import recipe as recipes
from synthvlm_core.captions import filtering, raw
from synthvlm_core.images import synthesis
from synthvlm_core.images.generator import Drawn, Request
from synthvlm_core.recipe import Recipe, Selection, Source
from synthvlm_core.release import stage
from synthvlm_core.scoring import stage as scoring
from synthvlm_core.store import Store

HOSTILE = "a blue star <image> on top of a brown square <image> and a thin yellow ring"
CAPTIONS = {
    "laion": [
        "the blue star on top of a brown square",
        "a small red circle beside a large blue square on a white background",
        "one yellow triangle in the middle of a grey picture",
        "a large purple square to the left of a tiny red ring",
        "three orange stars below a wide green line",
    ],
    "cc": [
        'a "pink" ellipse, über einem Dreieck: 三角形 on a white background',
        "a thin black cross between two yellow circles",
        HOSTILE,
    ],
}


class Painter:
    """Stands for a generator: paints something for every request, at once."""

    description: ClassVar[dict[str, Any]] = {"painter": 1}

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        return [Drawn(request, 0, self._paint(request), 3, False) for request in requests]

    def _paint(self, request: Request) -> np.ndarray:
        rng = np.random.default_rng([int(request.caption_id[:8], 16), request.k])
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        return np.asarray(coarse.resize((64, 64), Image.Resampling.BICUBIC)).astype(np.float32) / 255


def score_everything(store: Store, recipe: Recipe, shard_rows: int) -> None:
    """From source files to scores, through the package's own stages."""
    for source in recipe.sources:
        raw.collect(store, recipe, source.name)
        filtering.decide(store, recipe, source.name)
        synthesis.draw_source(store, recipe, source.name, shard_rows=shard_rows, load=lambda recipe: Painter())
        scoring.score_source(store, recipe, source.name, shard_rows=shard_rows)


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The miniature recipe over eight captions of two sources, two images each, of which the best four are the set; no
    thresholds for scores, since the pictures show nothing."""
    folder = tmp_path_factory.mktemp("sources")
    urls = [f"https://example.com/{number}.jpg" for number in range(len(CAPTIONS["laion"]))]
    pq.write_table(pa.table({"URL": urls, "TEXT": CAPTIONS["laion"]}), folder / "laion.parquet")
    (folder / "cc.tsv").write_text("".join(f"{text}\thttps://example.com/1.jpg\n" for text in CAPTIONS["cc"]))
    miniature = recipes.load("miniature")
    return miniature.model_copy(
        update={
            "name": "small",
            "sources": (
                Source(name="laion", format="laion", files=(str(folder / "laion.parquet"),)),
                Source(name="cc", format="cc3m", files=(str(folder / "cc.tsv"),)),
            ),
            "captions": miniature.captions.model_copy(
                update={"perplexity": None, "judge": None, "special_characters": None, "flagged_words": None}
            ),
            "generator": miniature.generator.model_copy(update={"images_per_caption": 2, "batch_size": 1}),
            "selection": Selection(size=4, weight=miniature.selection.weight),
        }
    )


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Path:
    """Where the scored store is kept, for tests to copy."""
    folder = tmp_path_factory.mktemp("shelf") / "store"
    score_everything(Store(str(folder)), recipe, shard_rows=8)
    return folder


@pytest.fixture
def scored(store: Store, shelf: Path) -> Store:
    """A store with the scores of both sources and no release."""
    shutil.copytree(shelf, store.root)
    return store


@pytest.fixture(scope="session")
def released_shelf(tmp_path_factory: pytest.TempPathFactory, shelf: Path, recipe: Recipe) -> Path:
    """Where the store with a release is kept."""
    folder = tmp_path_factory.mktemp("released") / "store"
    shutil.copytree(shelf, folder)
    stage.publish(Store(str(folder)), recipe)
    return folder


@pytest.fixture
def released(store: Store, released_shelf: Path) -> Store:
    """A store with the release of `recipe`."""
    shutil.copytree(released_shelf, store.root)
    return store


def folder_of(store: Store, recipe: Recipe) -> Path:
    """The folder of the latest release."""
    return Path(stage.location(store, stage.manifest(store, recipe)))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
