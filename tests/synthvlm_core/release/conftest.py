"""A store with real scores of painted pictures, made once by the stages before, and what tests ask of a release."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import GENERATORS, PAINTER, Painter, registered

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store

Edit = Callable[..., Recipe]

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
SET = "synthvlm"
"""The recipe's first set."""


def score_everything(store: Store, recipe: Recipe, *, shard_rows: int = 8) -> None:
    """From source files to scores, through the package's own stages."""
    for source in recipe.sources:
        RawCaptions(store, recipe, source.name).make()
        FilteredCaptions(store, recipe, source.name).make()
        SyntheticImages(store, recipe, source.name).make(shard_rows=shard_rows)
        ScoredPairs(store, recipe, source.name).make()


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, edited: Edit) -> Iterator[Recipe]:
    """The miniature recipe over eight captions of two sources, two painted images each, of which the best four are the
    set; no thresholds for scores, since the pictures show nothing."""
    folder = tmp_path_factory.mktemp("sources")
    urls = [f"https://example.com/{number}.jpg" for number in range(len(CAPTIONS["laion"]))]
    pq.write_table(pa.table({"URL": urls, "TEXT": CAPTIONS["laion"]}), folder / "laion.parquet")
    (folder / "cc.tsv").write_text("".join(f"{text}\thttps://example.com/1.jpg\n" for text in CAPTIONS["cc"]))
    left_out = ("perplexity", "judge", "special_characters", "flagged_words")
    with registered(GENERATORS, Painter):
        yield edited(
            loading.load("miniature"),
            {
                "name": "small",
                "folder": str(folder),
                "sources": [
                    {"name": "laion", "format": "laion", "files": ["laion.parquet"]},
                    {"name": "cc", "format": "cc3m", "files": ["cc.tsv"]},
                ],
                **{f"captions.rules.{rule}": None for rule in left_out},
                "generator": PAINTER,
                "selection.size": 4,
                "selection.floor": {},
                "selection.source_thresholds": {},
            },
        )


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Path:
    """Where the scored store is kept, for tests to copy."""
    folder = tmp_path_factory.mktemp("shelf") / "store"
    score_everything(Store(str(folder)), recipe)
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
    Synthvlm100k(Store(str(folder)), recipe, SET).make()
    return folder


@pytest.fixture
def released(store: Store, released_shelf: Path) -> Store:
    """A store with the release of `recipe`."""
    shutil.copytree(released_shelf, store.root)
    return store


def folder_of(store: Store, recipe: Recipe, name: str = SET) -> Path:
    """The folder of the latest release."""
    return Path(Synthvlm100k(store, recipe, name).location)


def rows_of(store: Store, recipe: Recipe, name: str = SET) -> list[dict[str, Any]]:
    """The rows of the latest release."""
    return [row for part in Synthvlm100k(store, recipe, name).rows() for row in part.to_pylist()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def all_hold(store: Store, recipe: Recipe, name: str = SET) -> bool:
    properties = (checks.set_is_whole, checks.no_pair_is_below_the_floor, checks.formats_agree)
    return all(holds(Synthvlm100k(store, recipe, name)).passed for holds in properties)
