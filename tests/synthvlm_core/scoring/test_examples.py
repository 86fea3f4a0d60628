"""Which pairs are shown to a person."""

from collections.abc import Callable

import pytest

from synthvlm_core.recipe import Recipe
from synthvlm_core.scoring import examples, stage
from synthvlm_core.store import Store

from .conftest import SOURCE

Edit = Callable[[Recipe, dict[str, object]], Recipe]


@pytest.mark.parametrize("floor", [None, 0.35])
def test_best_borderline_and_worst(drawn: Store, scoring_recipe: Recipe, edited: Edit, floor: float | None) -> None:
    recipe = edited(scoring_recipe, {"selection.floor.clip_score": floor})
    stage.score_source(drawn, recipe, SOURCE)
    shown = examples.examples(drawn, recipe, SOURCE, each=2)
    table = stage.dataset(drawn, recipe, SOURCE).to_table().to_pylist()
    order = sorted(table, key=lambda row: (-(row["clip_score"] + 0.5 * row["ssim"]), row["image_id"]))
    between = order[2:-2]
    if floor is not None:
        between = sorted(between, key=lambda row: abs(row["clip_score"] - floor))
        borderline = {row["image_id"] for row in between[:2]}
    else:
        borderline = {row["image_id"] for row in order[len(order) // 2 - 1 : len(order) // 2 + 1]}
    assert [row["place"] for row in shown] == ["best"] * 2 + ["borderline"] * 2 + ["worst"] * 2
    assert [row["image_id"] for row in shown[:2]] == [row["image_id"] for row in order[:2]]
    assert {row["image_id"] for row in shown[2:4]} == borderline
    assert [row["image_id"] for row in shown[4:]] == [row["image_id"] for row in order[-2:]]
