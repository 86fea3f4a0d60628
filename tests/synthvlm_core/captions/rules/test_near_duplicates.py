"""The rule near_duplicates: what it keeps of captions that say nearly the same, and what it says of the others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core import plan
from synthvlm_core.captions import checks
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.funnel import funnel
from synthvlm_core.captions.nearest import nearest
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
BALLS = [
    "a large red ball lies on the green grass of the park",
    "a large red ball lies on the green grass of the parks",
    "a large red ball lies on the green grass of the park in summer",
]
TEXTS = [*BALLS, "two cats sit beside a blue door", "!!! two cats sit beside a blue door ???!!! ***"]


@pytest.fixture
def recipe(small_recipe: Recipe, source_files: Path, edited: Edit) -> Recipe:
    """Two rules over captions of which some say nearly the same."""
    pq.write_table(pa.table({"URL": [""] * len(TEXTS), "TEXT": TEXTS}), source_files / "laion.parquet")
    rules = [{"rule": "near_duplicates"}, {"rule": "special_characters", "max_ratio": 0.42023757}]
    return edited(small_recipe, {"captions.rules": rules})


def made(store: Store, recipe: Recipe, **options: Any) -> tuple[FilteredCaptions, dict[str, Any], dict[str, Any]]:
    """The stage, its manifest, and its rows by text."""
    RawCaptions(store, recipe, "laion").make()
    stage = FilteredCaptions(store, recipe, "laion")
    manifest = stage.make(**options)
    tables = [*stage.kept(), *stage.rejected()]
    return stage, manifest, {row["text"]: row for table in tables for row in table.to_pylist()}


@pytest.mark.parametrize("shard_rows", [1, 2, 100])
def test_one_of_similar_captions_is_kept(store: Store, recipe: Recipe, edited: Edit, shard_rows: int) -> None:
    longest = edited(recipe, {"captions.rules.near_duplicates.keep": "longest"})
    stage, manifest, rows = made(store, longest, shard_rows=shard_rows)
    kept = rows[BALLS[2]]
    assert "rule" not in kept
    for text in BALLS[:2]:
        row = rows[text]
        assert (row["rule"], row["threshold"]) == ("near_duplicates", 0.7)
        assert row["kept_instead"] == kept["caption_id"]
    assert rows[BALLS[0]]["value"] == pytest.approx(11 / 13)
    assert rows[TEXTS[3]].get("rule") is None
    assert manifest["rejected_by_rule"] == {"special_characters": 1, "near_duplicates": 2}
    assert [step.left for step in funnel(manifest)] == [5, 5, 4, 2]
    assert checks.kept_captions_pass_every_rule(stage).passed
    assert checks.rows_add_up(stage).passed
    assert [text for text, _ in nearest(stage)["near_duplicates"]["rejected"]] == [BALLS[1], BALLS[0]]


def test_the_first_by_id_is_kept_whatever_the_order_of_the_rows(
    store: Store, recipe: Recipe, source_files: Path
) -> None:
    _, _, rows = made(store, recipe)
    lowest = min(row["caption_id"] for text, row in rows.items() if text in BALLS)
    of = [row.get("kept_instead") or row["caption_id"] for text, row in rows.items() if text in BALLS]
    assert set(of) == {lowest}
    pq.write_table(pa.table({"URL": [""] * len(TEXTS), "TEXT": TEXTS[::-1]}), source_files / "laion.parquet")
    _, _, again = made(store, recipe)
    assert {text: row.get("kept_instead") for text, row in again.items()} == {
        text: row.get("kept_instead") for text, row in rows.items()
    }


def test_no_caption_goes_for_one_that_another_rule_rejects(store: Store, recipe: Recipe, edited: Edit) -> None:
    """It is like the fourth, of fewer signs and rejected for these, though its rule comes later in the recipe."""
    _, _, rows = made(store, edited(recipe, {"captions.rules.near_duplicates.keep": "longest"}))
    assert rows[TEXTS[4]]["rule"] == "special_characters"
    assert "rule" not in rows[TEXTS[3]]


def test_a_plan_knows_what_would_be_kept(store: Store, recipe: Recipe, edited: Edit) -> None:
    made(store, edited(recipe, {"captions.rules.near_duplicates.threshold": 0.99}))
    [source, _] = plan.plan(store, recipe).sources
    assert (source.exact, source.kept) == (True, 2)


def test_another_threshold_is_another_decision_that_measures_nothing(
    store: Store, recipe: Recipe, edited: Edit
) -> None:
    first, _, _ = made(store, recipe)
    stage, manifest, _ = made(store, edited(recipe, {"captions.rules.near_duplicates.threshold": 0.99}))
    assert stage.key != first.key
    assert (manifest["kept"], manifest["measured"]) == (4, 0)
