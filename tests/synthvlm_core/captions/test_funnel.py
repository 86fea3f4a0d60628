"""What is left after each step adds up, from the rows of the files to the kept captions."""

import itertools

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.funnel import Step, funnel
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


def test_the_funnel_ends_with_what_is_kept(store: Store, small_recipe: Recipe) -> None:
    RawCaptions(store, small_recipe, "laion").make()
    manifest = FilteredCaptions(store, small_recipe, "laion").make()
    steps = funnel(manifest)
    assert steps[:2] == [Step("rows", 0, 7), Step("different captions", 1, 6)]
    assert [step.name for step in steps[2:]] == [rule["name"] for rule in manifest["rules"]]
    assert steps[-1].left == manifest["kept"] == 4
    assert all(before.left - after.gone == after.left for before, after in itertools.pairwise(steps))
