"""Pairs of scores from nothing, and a store with real scores of painted pictures that need no model."""

import hashlib
import itertools
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from harness import GENERATORS, PAINTER, Painter, filter_captions, registered

from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scored import ScoredPairs, score_columns
from synthvlm_core.selection import selection
from synthvlm_core.selection.selection import Candidates
from synthvlm_core.store import records
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
Pair = dict[str, Any]
SSIM: dict[str, Any] = {"score": "ssim", "shrink_to": 32, "resample": "bicubic", "channels": "rgb"}
MINIATURE = loading.load("miniature")


@dataclass
class Pool:
    """The scored pairs of a source, as selection sees them: in any order, cut into tables at some places."""

    partition: str
    rows: list[Pair]
    recipe: Recipe
    cuts: tuple[int, ...] = ()
    manifest: dict[str, Any] = field(default_factory=lambda: {"spec": "spec", "image_definition": "images"})
    texts_of: list[Pair] | None = None
    """The pairs whose captions are there; None for all."""

    def pairs(self) -> Iterator[pa.Table]:
        schema = records.scored_pairs(score_columns(self.recipe)).schema
        edges = [0, *sorted(min(cut, len(self.rows)) for cut in self.cuts), len(self.rows)]
        for start, end in itertools.pairwise(edges):
            yield pa.Table.from_pylist(self.rows[start:end], schema)

    def texts(self) -> Iterator[pa.Table]:
        captions = {row["caption_id"] for row in (self.rows if self.texts_of is None else self.texts_of)}
        for some in (sorted(captions)[::2], sorted(captions)[1::2]):
            texts = [f"text of {caption}" for caption in some]
            yield pa.table({"caption_id": pa.array(some, pa.string()), "text": pa.array(texts, pa.string())})


def pair(source: str, caption: int, k: int = 0, **scores: float) -> Pair:
    """A scored pair; two of one source and caption stand for the same caption."""
    return {
        "image_id": hashlib.md5(f"{source} {caption} {k}".encode()).hexdigest(),
        "picture_hash": hashlib.sha256(f"{source} {caption} {k}".encode()).hexdigest(),
        "caption_id": hashlib.md5(f"{source} {caption}".encode()).hexdigest(),
        "source": source,
        "k": k,
        **scores,
    }


def select(
    sources: Sequence[Candidates], recipe: Recipe, name: str = "synthvlm", *, rows: int = 7
) -> tuple[list[Pair], dict[str, Any]]:
    """The pairs by rank, and the report."""
    with selection.ranked(sources, recipe, name) as found:
        return [row for table in found.tables(rows) for row in table.to_pylist()], found.report


@pytest.fixture(scope="session")
def chosen_by(edited: Edit) -> Callable[..., Recipe]:
    """A recipe with scores of these names and this selection; what is not said is empty."""

    def make(*names: str, **section: Any) -> Recipe:
        scores = [{**SSIM, "name": name} for name in names or ("clip", "ssim")]
        defaults = {
            "size": 2,
            "weights": {"clip": 1.0, "ssim": 0.5},
            "floor": {},
            "source_thresholds": {},
            "sets": [{"name": "synthvlm"}, {"name": "random", "by": "random"}],
        }
        return edited(MINIATURE, {"scores": scores, "selection": defaults | section})

    return make


@pytest.fixture
def painted(small_recipe: Recipe, edited: Edit) -> Iterator[Recipe]:
    """The small recipe with two painted images per caption, scored by SSIM and colourfulness; the set has five."""
    with registered(GENERATORS, Painter):
        yield edited(
            small_recipe,
            {
                "generator": PAINTER,
                "scores": [SSIM, {"score": "colourfulness"}],
                "selection.size": 5,
                "selection.weights": {"ssim": 1.0, "colourfulness": 0.01},
            },
        )


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first store with scores is kept, for the next tests to copy."""
    return tmp_path_factory.mktemp("shelf") / "store"


@pytest.fixture
def scored(store: Store, painted: Recipe, shelf: Path) -> Store:
    """A store with the scores of both sources."""
    if not shelf.is_dir():
        filter_captions(store, painted)
        for source in painted.sources:
            SyntheticImages(store, painted, source.name).make(shard_rows=4)
            ScoredPairs(store, painted, source.name).make(shard_rows=3)
        shutil.copytree(store.root, shelf)
    else:
        shutil.copytree(shelf, store.root)
    return store


def stages(store: Store, recipe: Recipe) -> list[ScoredPairs]:
    """The scored pairs of all sources, as another process would see them."""
    return [ScoredPairs(store, recipe, source.name) for source in recipe.sources]


def rows_of(store: Store, recipe: Recipe) -> list[Pair]:
    """The scored pairs of all sources."""
    return [row for stage in stages(store, recipe) for part in stage.pairs() for row in part.to_pylist()]
