from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_core import recipe as recipes
from synthvlm_core.captions import filtering
from synthvlm_core.recipe import PRESETS, Recipe, RecipeError

MINIATURE = (PRESETS / "miniature.yaml").read_text()


def load_text(tmp_path: Path, text: str) -> Recipe:
    (tmp_path / "mine.yaml").write_text(text)
    return recipes.load(str(tmp_path / "mine.yaml"))


@pytest.mark.parametrize("preset", ["miniature", "paper"])
def test_presets_load_and_travel_as_json(preset: str) -> None:
    recipe = recipes.load(preset)
    assert recipe.name == preset
    assert recipes.loads(recipes.dumps(recipe)) == recipe


def test_paper_numbers() -> None:
    paper = recipes.load("paper")
    assert paper.selection.size == 100_000
    assert paper.selection.weight == 0.5
    assert (paper.generator.steps, paper.generator.width, paper.generator.height) == (60, 1024, 1024)
    assert paper.scores.ssim.shrink_to == 336
    assert paper.captions.perplexity is not None
    assert paper.captions.perplexity.max_ppl == 5500.0
    assert paper.captions.special_characters is not None
    assert paper.captions.special_characters.min_ratio == 0.16534802


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("steps: 8", "stepz: 8", ["generator.stepz", "unknown key", "allowed here: model"]),
        ("format: cc3m", "format: cc4m", ["sources.1.format", "'cc3m'", "given: 'cc4m'"]),
        ("size: 800", "size: lots", ["selection.size", "integer", "given: 'lots'"]),
        ("seed: 0", "seed: -1", ["seed", "greater than or equal to 0"]),
        ("weight: 0.5", "weight: .nan", ["selection.weight", "finite"]),
        ("name: cc\n", "name: laion\n", ["sources: names must differ"]),
        ("max_ratio: 0.42023757", "max_ratio: 0.1", ["special_characters", "min_ratio must not exceed"]),
        ("format: cc3m", "format: datacomp_blip2", ["needs metadata_files"]),
        ("seed: 0", "seed: 0\nseed: 1", ["given twice"]),
        ("seed: 0\nthreads: 1", "seed: &a 0\nthreads: *a", ["aliases are not allowed"]),
        ("threads: 1", "threads: 2024-01-01", ["threads", "given: '2024-01-01'"]),
        ("name: cc\n", "name: a..b\n", ["sources.1.name"]),
    ],
)
def test_a_mistake_is_explained(tmp_path: Path, old: str, new: str, said: list[str]) -> None:
    assert old in MINIATURE
    with pytest.raises(RecipeError) as caught:
        load_text(tmp_path, MINIATURE.replace(old, new, 1))
    for words in ["mine.yaml", *said]:
        assert words in str(caught.value)


def test_an_error_names_the_line(tmp_path: Path) -> None:
    line = MINIATURE[: MINIATURE.index("steps: 8")].count("\n") + 1
    with pytest.raises(RecipeError, match=rf"mine\.yaml:{line}: generator\.steps"):
        load_text(tmp_path, MINIATURE.replace("steps: 8", "steps: 0"))


@pytest.mark.parametrize("text", ["", "- a list", "a: [", "\x00", "folder: x", "[" * 3000, "x: &a [*a]"])
def test_no_recipe_at_all(tmp_path: Path, text: str) -> None:
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_text(tmp_path, text)


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(RecipeError, match="miniature, paper"):
        recipes.load("papper")


def test_a_change_touches_only_its_section(small_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    trained_longer = edited(small_recipe, {"training.finetune.epochs": 5.0})
    assert trained_longer.captions.hash == small_recipe.captions.hash
    assert filtering.code_version(trained_longer) == filtering.code_version(small_recipe)
    assert trained_longer.training.hash != small_recipe.training.hash
    stricter = edited(small_recipe, {"captions.alphanumeric.min_ratio": 0.7})
    assert filtering.code_version(stricter) != filtering.code_version(small_recipe)


def test_the_hash_does_not_know_the_machine(tmp_path: Path) -> None:
    assert load_text(tmp_path, MINIATURE).hash == recipes.load("miniature").hash
