"""Rooms of parts: what a recipe may name, and that a further part is one class and one line."""

from collections.abc import Callable
from typing import Literal

import pytest
from harness import registered

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules import text_statistics
from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.part import Part, kinds
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.measurements import Measurement
from synthvlm_core.store.objects import Store

ROOMS = {
    "synthvlm_core.captions.readers": "format",
    "synthvlm_core.captions.originals": "by",
    "synthvlm_core.captions.rules": "rule",
    "synthvlm_core.images.generators": "kind",
    "synthvlm_core.scoring.scorers": "score",
    "synthvlm_core.release.formats": "format",
    "synthvlm_core.evaluation.benchmarks": "benchmark",
}


@pytest.mark.parametrize("room", ROOMS)
def test_every_part_is_told_apart_by_its_rooms_key(room: str) -> None:
    # other tests of this process may have registered parts of their own
    offered = {word: cls for word, cls in kinds(room).items() if cls.__module__.startswith("synthvlm_core.")}
    assert offered
    for word, cls in offered.items():
        assert cls.tag == ROOMS[room]
        assert cls.model_fields[cls.tag].is_required(), f"{cls.__name__} would be taken for a part without a kind"
        assert word == word.lower()
        assert cls.__doc__
        assert cls.__module__.startswith(room + ".")
    # one module each
    modules = [cls.__module__ for cls in set(offered.values())]
    assert len(set(modules)) == len(modules)


def test_a_plain_word_is_the_part_of_that_kind(small_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    recipe = edited(small_recipe, {"release.formats": ["llava", {"format": "huggingface"}]})
    assert [form.kind_name for form in recipe.release.formats] == ["llava", "huggingface"]
    assert all(isinstance(form, Part) for form in recipe.release.formats)


class Short(Rule):
    """Captions that are mostly other characters."""

    rule: Literal["short"]
    max_ratio: float
    statistic = "special_char_ratio"

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_ratio)

    def measurement(self, context: CaptionContext) -> Measurement:
        return text_statistics.measurement(context)


def test_a_further_rule_is_one_class(store: Store, small_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    changes: dict[str, object] = {"captions.rules": [{"rule": "short", "max_ratio": 0.4}]}
    with registered("synthvlm_core.captions.rules", Short):
        recipe = edited(small_recipe, changes)
        RawCaptions(store, recipe, "laion").make()
        manifest = FilteredCaptions(store, recipe, "laion").make()
        assert manifest["rejected_by_rule"] == {"short": manifest["rejected"]}
        assert 0 < manifest["rejected"] < manifest["captions"]
    with pytest.raises(RecipeError, match="short"):
        edited(small_recipe, changes)
