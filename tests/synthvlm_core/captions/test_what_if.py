"""What other thresholds would keep is what a run with them keeps."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.what_if import WhatIf
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.rule import Bounds
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import sql
from synthvlm_core.store.objects import Store
from synthvlm_core.store.sql import Scratch

Edit = Callable[[Recipe, dict[str, object]], Recipe]
TEXTS = [f"{'a bc def '[: n % 9]}{'!' * (n % 5)}{n * 7919 % 1000} {'word ' * (n % 13)}" for n in range(200)]


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    with sql.scratch() as found:
        yield found


@pytest.fixture
def decided(store: Store, small_recipe: Recipe, edited: Edit, source_files: Path) -> Recipe:
    """A recipe of three rules whose source was decided once."""
    (source_files / "many.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in TEXTS))
    rules: list[dict[str, Any]] = [
        {"rule": "alphanumeric", "min_ratio": 0.6, "max_ratio": 0.9},
        {"rule": "word_repetition", "rep_len": 2, "max_ratio": 0.5},
        {"rule": "word_count", "max_words": 9},
    ]
    source = {"name": "many", "format": "csv", "files": ["many.csv"], "columns": {"text": "text"}}
    recipe = edited(small_recipe, {"sources": [source], "captions.rules": rules})
    RawCaptions(store, recipe, "many").make()
    FilteredCaptions(store, recipe, "many").make()
    return recipe


KEYS = {
    "alphanumeric": ("min_ratio", "max_ratio"),
    "word_repetition": (None, "max_ratio"),
    "word_count": ("min_words", "max_words"),
}


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rule=st.sampled_from(list(KEYS)), low=st.floats(0.0, 0.7), high=st.floats(0.7, 1.0))
def test_counts_are_those_of_a_run(
    store: Store, decided: Recipe, edited: Edit, scratch: Scratch, rule: str, low: float, high: float
) -> None:
    values = [int(10 * low), int(10 * high)] if rule == "word_count" else [low, high]
    keys = {key: value for key, value in zip(KEYS[rule], values, strict=True) if key}
    there = WhatIf(scratch, FilteredCaptions(store, decided, "many"))
    bounds = Bounds(values[0] if KEYS[rule][0] else None, values[1])
    [found] = there.outcomes(rule, [bounds])
    other = edited(decided, {f"captions.rules.{rule}.{key}": value for key, value in keys.items()})
    assert (found.kept, found.unread) == (FilteredCaptions(store, other, "many").make()["kept"], 0)


def test_todays_bounds_stand_in_the_table_and_more_is_kept_the_looser_they_are(
    store: Store, decided: Recipe, scratch: Scratch
) -> None:
    stage = FilteredCaptions(store, decided, "many")
    found = WhatIf(scratch, stage)
    assert (found.kept, found.captions) == (stage.manifest["kept"], stage.manifest["captions"])
    for rule, (low, _) in KEYS.items():
        outcomes = found.outcomes(rule)
        kept = [one.kept for one in outcomes]
        assert kept == sorted(kept, reverse=low is not None and rule == "alphanumeric")
        today = [one.kept for one in outcomes if one.bounds == next(s.bounds for s in found.shares() if s.rule == rule)]
        assert today == [found.kept]


def test_what_a_rule_rejects_alone_is_what_is_kept_without_it(
    store: Store, decided: Recipe, edited: Edit, scratch: Scratch
) -> None:
    found = WhatIf(scratch, FilteredCaptions(store, decided, "many"))
    for share in found.shares():
        rules = [rule.model_dump(mode="json") for rule in decided.captions.rules if rule.kind_name != share.rule]
        fewer = FilteredCaptions(store, edited(decided, {"captions.rules": rules}), "many").make()
        assert fewer["kept"] == found.kept + share.alone
        assert share.rejects >= share.alone


def test_what_was_never_measured_is_counted_beside(
    store: Store, decided: Recipe, edited: Edit, scratch: Scratch
) -> None:
    rules = [rule.model_dump(mode="json") for rule in decided.captions.rules]
    model = {"id": "package:synthvlm_miniature/models/language"}
    recipe = edited(decided, {"captions.rules": [*rules, {"rule": "perplexity", "model": model, "max_ppl": 1.0}]})
    found = WhatIf(scratch, FilteredCaptions(store, recipe, "many"))
    [everything] = found.outcomes("perplexity", [Bounds(None, 1e9)])
    assert (everything.kept, everything.unread) == (found.kept, 0)
    [loose] = found.outcomes("word_repetition", [Bounds(None, 1.0)])
    assert loose.kept > found.kept
    assert loose.unread == loose.kept


def test_a_rule_that_is_not_applied_is_told(store: Store, decided: Recipe, scratch: Scratch) -> None:
    with pytest.raises(Mendable, match="no rule 'gone' is applied; those that are: alphanumeric, word_repetition, wor"):
        WhatIf(scratch, FilteredCaptions(store, decided, "many")).outcomes("gone")
