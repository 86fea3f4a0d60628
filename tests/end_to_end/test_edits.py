"""What an edit of the recipe makes anew: the stages that depend on it, and of pictures only the missing ones."""

from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_core import graph
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
MEASURED = {
    "caption_measurements": "*.parquet",
    "synthetic_images": "*.parquet",
    "scores": "*.parquet",
    "releases": "manifest.json",
    "checkpoints": "*/*/config.json",
    "evaluations": "*.json",
}
"""What costs something to make: folder of the store, its files."""


def run_all(store: Store, recipe: Recipe) -> None:
    """What the jobs do, stage by stage, in this process: every source, the paper's set, the first variant."""
    for stage in graph.STAGES:
        names = stage.partitions(recipe)
        for name in names if stage.over == "source" else names[:1]:
            stage(store, recipe, name).make()


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny: Recipe) -> tuple[Store, Recipe]:
    store = Store(str(tmp_path_factory.mktemp("finished") / "store"))
    run_all(store, tiny)
    return store, tiny


def files(store: Store) -> dict[str, set[Path]]:
    return {folder: set(Path(store.root, folder).rglob(pattern)) for folder, pattern in MEASURED.items()}


DOWNSTREAM = {"releases", "checkpoints", "evaluations"}


@pytest.mark.parametrize(
    ("change", "made_anew"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param({"captions.rules.judge.min_yes": 0.4}, set(), id="a threshold that decides nothing otherwise"),
        pytest.param({"selection.size": 5}, DOWNSTREAM, id="the size"),
        pytest.param({"selection.weights.ssim": 5.0}, DOWNSTREAM, id="the weight"),
        pytest.param(
            {"generator.images_per_caption": 2}, {"synthetic_images", "scores", *DOWNSTREAM}, id="more images"
        ),
        pytest.param({"generator.guidance_scale": 2.0}, {"synthetic_images", "scores", *DOWNSTREAM}, id="the guidance"),
        pytest.param({"training.align.learning_rate": 0.002}, {"checkpoints", "evaluations"}, id="a learning rate"),
        pytest.param({"evaluation.max_new_tokens": 4}, {"evaluations"}, id="the length of answers"),
        pytest.param({"scores.ssim.window": 5}, {"scores", *DOWNSTREAM}, id="a score"),
        pytest.param({"release.formats": ["huggingface", "llava", "webdataset"]}, set(), id="a further format"),
    ],
)
def test_an_edit_touches_what_depends_on_it(
    finished: tuple[Store, Recipe], edited: Edit, change: dict[str, object], made_anew: set[str]
) -> None:
    store, recipe = finished
    run_all(store, recipe)  # `latest` is that of the recipe, whatever ran before
    before = files(store)
    run_all(store, edited(recipe, change))
    after = files(store)
    assert {folder for folder in after if after[folder] != before[folder]} == made_anew
    assert all(after[folder] >= before[folder] for folder in after), "something stored is gone"


def test_a_stricter_rule_draws_nothing_and_a_looser_one_the_missing_images(
    finished: tuple[Store, Recipe], edited: Edit
) -> None:
    store, recipe = finished
    stricter = edited(recipe, {"captions.rules.perplexity.max_ppl": 3.0, "selection.size": 2})
    before = files(store)
    run_all(store, stricter)
    after = files(store)
    for folder in ("caption_measurements", "synthetic_images", "scores"):
        assert after[folder] == before[folder]
    assert Synthvlm100k(store, stricter, "synthvlm").manifest["rows"] == 2

    looser = edited(recipe, {"captions.rules.perplexity": None, "captions.rules.judge": None})
    run_all(store, looser)
    for source in recipe.sources:
        drawn = SyntheticImages(store, looser, source.name).make()
        kept = SyntheticImages(store, recipe, source.name).make()
        assert kept["drawn"] == drawn["drawn"] == 0
        assert drawn["wanted"] >= kept["wanted"]


def test_an_edit_of_one_score_computes_no_other(finished: tuple[Store, Recipe], edited: Edit) -> None:
    store, recipe = finished
    before = files(store)["scores"]
    run_all(store, edited(recipe, {"scores.ssim.channels": "luma"}))
    new = files(store)["scores"] - before
    assert {path.relative_to(Path(store.root, "scores")).parts[0] for path in new} == {"ssim"}
