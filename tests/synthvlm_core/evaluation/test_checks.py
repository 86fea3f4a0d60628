from typing import Any

import pytest
from tiny_vlm import VARIANT

from synthvlm_core.evaluation import checks
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


@pytest.fixture
def judged(store: Store, tiny_recipe: Recipe) -> Any:
    """judged(name=numbers): the finding about a result whose benchmarks have these overall numbers."""

    def judge(**benchmarks: dict[str, float | None]) -> Finding:
        stage = Evaluation(store, tiny_recipe, VARIANT)
        common = {"asked": 100, "n": 100, "high": 1.0}
        stage.manifest = {"benchmarks": {name: {"overall": {**common, **found}} for name, found in benchmarks.items()}}
        return checks.evaluation_beats_chance(stage)

    return judge


def test_an_evaluation_must_beat_chance_and_the_blind(judged: Any) -> None:
    assert judged(own={"accuracy": 0.8, "low": 0.7, "chance": 0.3, "majority": 0.4}).passed
    chance = judged(own={"accuracy": 0.35, "low": 0.25, "chance": 0.3, "majority": 0.2})
    assert not chance.passed
    assert "own: 0.350 [0.250, 1.000] of 100, chance 0.300, blind 0.200" in chance.summary
    assert not judged(own={"accuracy": 0.5, "low": 0.39, "chance": 0.3, "majority": 0.4}).passed
    assert not judged(own={"accuracy": 0.5, "low": 0.4, "chance": 0.3, "majority": 0.4}).passed, "a tie is no win"
    assert not judged().passed


def test_every_benchmark_that_can_be_judged_must_win(judged: Any) -> None:
    good = {"accuracy": 0.8, "low": 0.7, "chance": None, "majority": 0.4}
    poor = {"accuracy": 0.8, "low": 0.3, "chance": 0.4, "majority": None}
    unknown = {"accuracy": None, "low": None, "chance": None, "majority": None}
    assert judged(a=good, b=unknown).passed
    assert "b: 100 answers and nothing to hold them against" in judged(a=good, b=unknown).summary
    assert not judged(a=good, b=poor).passed
    assert not judged(b=unknown).passed, "nothing was shown"
