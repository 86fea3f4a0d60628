"""What an edit of the recipe makes anew: the stages that depend on it, and of pictures only the missing ones."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from synthvlm_assets.worker import STAGES
from synthvlm_core.captions import raw
from synthvlm_core.evaluation import questions, scores
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import stage as release
from synthvlm_core.store import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
MEASURED = {
    "caption_measurements": "*.parquet",
    "synthetic_images": "*.parquet",
    "scores": "*.parquet",
    "releases": "manifest.json",
    "checkpoints": "*/*/config.json",
    "evaluations": "*.json",
}
"""What costs something to make: folder of the store, its files. Complete tables of scores are cut again for free."""


def run_all(store: Store, recipe: Recipe) -> None:
    """What the jobs do, stage by stage, in this process."""

    def silent(what: str, done: int, total: int) -> None:
        return None

    for source in recipe.sources:
        raw.collect(store, recipe, source.name)
        for stage in ("filtered_captions", "synthetic_images", "scored_pairs"):
            STAGES[stage](store, recipe, source.name, silent)
    STAGES["synthvlm_100k"](store, recipe, "", silent)
    for stage in ("projector_checkpoint", "vlm_checkpoint", "evaluation"):
        STAGES[stage](store, recipe, recipe.training.variants[0].name, silent)


@pytest.fixture(scope="module", autouse=True)
def _few_questions() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for split in questions.MINIATURE_QUESTIONS:
            patch.setitem(questions.MINIATURE_QUESTIONS, split, 16)
        patch.setattr(scores, "CAPTIONS", 32)
        yield


@pytest.fixture(scope="module")
def finished(tmp_path_factory, tiny: Recipe) -> tuple[Store, Recipe]:
    store = Store(str(tmp_path_factory.mktemp("finished") / "store"))
    run_all(store, tiny)
    return store, tiny


def files(store: Store) -> dict[str, set[Path]]:
    return {
        folder: {path for path in Path(store.root, folder).rglob(pattern) if "complete" not in path.parts}
        for folder, pattern in MEASURED.items()
    }


DOWNSTREAM = {"releases", "checkpoints", "evaluations"}


@pytest.mark.parametrize(
    ("change", "made_anew"),
    [
        pytest.param({}, set(), id="nothing"),
        pytest.param({"captions.judge.min_yes": 0.4}, set(), id="a threshold that decides nothing otherwise"),
        pytest.param({"selection.size": 5}, DOWNSTREAM, id="the size"),
        pytest.param({"selection.weight": 5.0}, DOWNSTREAM, id="the weight"),
        pytest.param(
            {"generator.images_per_caption": 2}, {"synthetic_images", "scores", *DOWNSTREAM}, id="more images"
        ),
        pytest.param({"generator.guidance_scale": 2.0}, {"synthetic_images", "scores", *DOWNSTREAM}, id="the guidance"),
        pytest.param({"training.align.learning_rate": 0.002}, {"checkpoints", "evaluations"}, id="a learning rate"),
        pytest.param({"evaluation.max_new_tokens": 4}, {"evaluations"}, id="the length of answers"),
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
    stricter = edited(recipe, {"captions.perplexity.max_ppl": 3.0, "selection.size": 2})
    before = files(store)
    run_all(store, stricter)
    after = files(store)
    for folder in ("caption_measurements", "synthetic_images", "scores"):
        assert after[folder] == before[folder]
    assert release.manifest(store, stricter)["rows"] == 2

    looser = edited(recipe, {"captions.perplexity": None, "captions.judge": None})
    run_all(store, looser)
    for source in recipe.sources:
        drawn = STAGES["synthetic_images"](store, looser, source.name, lambda what, done, total: None)
        kept = STAGES["synthetic_images"](store, recipe, source.name, lambda what, done, total: None)
        assert kept["drawn"] == drawn["drawn"] == 0
        assert drawn["wanted"] >= kept["wanted"]
