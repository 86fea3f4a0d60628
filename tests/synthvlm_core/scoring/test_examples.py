"""Which pairs are shown to a person."""

from collections.abc import Callable
from typing import Any

import pytest
from harness import painted

from synthvlm_core.decoding import decode
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import examples
from synthvlm_core.store.objects import Store

from .conftest import SOURCE, Edit, pairs, rows_of

Row = dict[str, Any]


def weighted(row: Row) -> float:
    return float(row["brightness"] + 0.5 * row["ssim"])


FLOORS: dict[str, tuple[dict[str, float], Callable[[Row], float]]] = {
    "one score": ({"ssim": 0.7}, lambda row: row["ssim"] - 0.7),
    "the weighted score": ({"weighted_score": 0.85}, lambda row: weighted(row) - 0.85),
    "two scores": ({"ssim": 0.7, "brightness": 0.5}, lambda row: min(row["ssim"] - 0.7, row["brightness"] - 0.5)),
}


@pytest.mark.parametrize("floor", [None, *FLOORS])
def test_best_borderline_and_worst(drawn: Store, recipe: Recipe, edited: Edit, floor: str | None) -> None:
    bounds, margin = FLOORS[floor] if floor else ({}, None)
    recipe = edited(recipe, {"selection.floor": bounds})
    pairs(drawn, recipe).make()
    shown = examples.examples(pairs(drawn, recipe), each=2)
    order = sorted(rows_of(drawn, recipe), key=lambda row: (-weighted(row), row["image_id"]))
    between = order[2:-2]
    if margin is None:
        borderline = order[len(order) // 2 - 1 : len(order) // 2 + 1]
    else:
        borderline = sorted(between, key=lambda row: abs(margin(row)))[:2]
    assert [row["place"] for row in shown] == ["best"] * 2 + ["borderline"] * 2 + ["worst"] * 2
    assert [row["image_id"] for row in shown[:2]] == [row["image_id"] for row in order[:2]]
    assert {row["image_id"] for row in shown[2:4]} == {row["image_id"] for row in borderline}
    assert [row["image_id"] for row in shown[4:]] == [row["image_id"] for row in order[-2:]]


def test_a_pair_comes_with_its_picture_its_caption_and_every_score(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    scores = [*recipe.model_dump(mode="json")["scores"], {"score": "colourfulness"}]
    recipe = edited(recipe, {"scores": scores})
    pairs(drawn, recipe).make()
    rows = {row["image_id"]: row for row in rows_of(drawn, recipe)}
    images = {
        row["image_id"]: row
        for part in SyntheticImages(drawn, recipe, SOURCE).counting_images()
        for row in part.to_pylist()
    }
    for shown in examples.examples(pairs(drawn, recipe), each=1):
        stored = images[shown["image_id"]]
        assert (shown["text"], shown["data"]) == (stored["text"], stored["image"]["bytes"])
        assert decode(shown["data"]).size == painted(0).shape[:2]
        assert list(shown["scores"]) == ["ssim", "brightness", "colourfulness"]
        assert all(rows[shown["image_id"]][name] == value for name, value in shown["scores"].items())


def test_few_pairs_are_shown_once(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    pairs(drawn, recipe).make()
    for each in (3, 4, 6, 8, 20):
        shown = [row["image_id"] for row in examples.examples(pairs(drawn, recipe), each=each)]
        assert len(set(shown)) == len(shown) == 8
