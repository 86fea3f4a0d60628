"""What a recipe says: the presets, and what fits together."""

import subprocess
import sys
from collections.abc import Callable

import pytest
from harness import of_kind

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules.kenlm_perplexity import KenlmPerplexity
from synthvlm_core.captions.rules.special_characters import SpecialCharacters
from synthvlm_core.errors import RecipeError
from synthvlm_core.images.generators.diffusers import Diffusers
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scorers.ssim import Ssim

Edit = Callable[..., Recipe]


def test_paper_numbers() -> None:
    paper = loading.load("paper")
    assert paper.selection.size == 100_000
    assert paper.selection.weights == {"clip_score": 1.0, "ssim": 0.5}
    generator = paper.generator
    assert isinstance(generator, Diffusers)
    assert (generator.steps, generator.width, generator.height) == (60, 1024, 1024)
    [ssim] = [score for score in paper.scores if isinstance(score, Ssim)]
    assert ssim.shrink_to == 336
    perplexity = of_kind(paper.captions.rules, KenlmPerplexity)
    assert isinstance(perplexity, KenlmPerplexity)
    assert perplexity.max_ppl == 5500.0
    special = of_kind(paper.captions.rules, SpecialCharacters)
    assert isinstance(special, SpecialCharacters)
    assert special.min_ratio == 0.16534802


def test_a_change_touches_only_its_section(small_recipe: Recipe, edited: Edit) -> None:
    trained_longer = edited(small_recipe, {"training.finetune.epochs": 5.0})
    assert trained_longer.captions.hash == small_recipe.captions.hash
    assert FilteredCaptions.code_version(trained_longer) == FilteredCaptions.code_version(small_recipe)
    assert trained_longer.training.hash != small_recipe.training.hash
    stricter = edited(small_recipe, {"captions.rules.alphanumeric.min_ratio": 0.7})
    assert FilteredCaptions.code_version(stricter) != FilteredCaptions.code_version(small_recipe)
    assert RawCaptions.code_version(stricter) == RawCaptions.code_version(small_recipe)


def test_what_is_named_is_found_by_its_name(small_recipe: Recipe) -> None:
    assert small_recipe.source("cc").files == ("*.tsv",)
    assert small_recipe.released_set("random").by == "random"
    assert small_recipe.variant("random-mini").selection == "random"
    for look, what in (
        (small_recipe.source, r"no source 'x'; it has \['laion', 'cc'\]"),
        (small_recipe.released_set, r"no set 'x'; it has \['synthvlm', 'random'\]"),
        (small_recipe.variant, r"no training variant 'x'; it has"),
    ):
        with pytest.raises(RecipeError, match=what):
            look("x")


def test_loading_a_recipe_loads_no_model_library() -> None:
    """Dagster loads definitions in every process, and `synthvlm check` is to answer at once."""
    code = (
        "import sys; from synthvlm_core.recipe import loading; loading.load('paper');"
        "heavy = {'torch', 'diffusers', 'transformers', 'open_clip', 'webdataset', 'datasets', 'skimage'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
