"""Scores in a recipe: their columns, and what is refused on loading, with file and line."""

from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import ValidationError

from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.score import RESERVED, WEIGHTED
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scorers.colourfulness import Colourfulness
from synthvlm_core.store import records

HEAD = """\
extends: miniature
name: mine
scores:
  - {score: ssim, shrink_to: 32, resample: bicubic, channels: rgb}
"""
SELECTION = """\
selection:
  size: 3
  weights: {ssim: 1.0}
  floor: {}
  source_thresholds: {mean: {}}
  sets:
    - {name: synthvlm}
    - {name: random, by: random}
"""
MINE = HEAD + SELECTION


@pytest.fixture
def load(tmp_path: Path) -> Callable[[str], Recipe]:
    def load(text: str) -> Recipe:
        (tmp_path / "mine.yaml").write_text(text)
        return loading.load(str(tmp_path / "mine.yaml"))

    return load


def refused(load: Callable[[str], Recipe], text: str) -> str:
    with pytest.raises(RecipeError) as raised:
        load(text)
    return str(raised.value)


def test_a_score_is_called_by_its_kind_or_its_name(load: Callable[[str], Recipe]) -> None:
    second = HEAD + "  - {score: ssim, name: ssim-16.b, shrink_to: 16, resample: bicubic, channels: rgb}\n"
    recipe = load(second + SELECTION.replace("{ssim: 1.0}", "{ssim: 1.0, ssim_16_b: 0.5}"))
    assert [score.column for score in recipe.scores] == ["ssim", "ssim_16_b"]


def test_two_scores_of_one_name_are_refused(load: Callable[[str], Recipe]) -> None:
    second = HEAD + "  - {score: ssim, shrink_to: 16, resample: bicubic, channels: rgb}\n"
    said = refused(load, second + SELECTION)
    assert "mine.yaml:3: scores: names must differ, got ['ssim', 'ssim']" in said
    # names that differ and columns that do not
    pair = HEAD.replace("ssim,", "ssim, name: a-b,") + HEAD.splitlines()[3].replace("ssim,", "ssim, name: a.b,") + "\n"
    assert "scores: names must differ, got ['a_b', 'a_b']" in refused(load, pair + SELECTION)


@pytest.mark.parametrize("name", ["1st", "336", "rank", "image-id", "k", "weighted_score", "order", "select", "table"])
def test_names_that_cannot_be_columns_are_refused(load: Callable[[str], Recipe], name: str) -> None:
    said = refused(load, MINE.replace("score: ssim", f"score: ssim, name: '{name}'"))
    assert "mine.yaml:4: scores.0" in said
    assert f"'{name}' cannot name a column; begin with a letter" in said


@pytest.mark.parametrize("name", ["Clip", "a b", "a;drop", 'a"b', "a--b", "-a", ""])
def test_names_that_are_none_are_refused(load: Callable[[str], Recipe], name: str) -> None:
    said = refused(load, MINE.replace("score: ssim", f"score: ssim, name: '{name}'"))
    assert "mine.yaml:4: scores.0.name" in said


def test_every_column_beside_scores_is_reserved() -> None:
    tables = (records.scored_pairs([]), records.ranked([]), records.synthvlm_100k([]), records.SCORES)
    for column in {name for table in tables for name in table.names} - {WEIGHTED}:
        assert column in RESERVED
        with pytest.raises(ValidationError, match="cannot name a column"):
            Colourfulness(score="colourfulness", name=column.replace("_", "-"))


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ("8", "window must be odd, not 8"),
        ("1", "greater than or equal to 3"),
        ("513", "less than or equal to 511"),
    ],
)
def test_a_window_that_is_none_is_refused(load: Callable[[str], Recipe], window: str, said: str) -> None:
    found = refused(load, MINE.replace("shrink_to", f"window: {window}, shrink_to"))
    assert "mine.yaml:4: scores.0" in found
    assert said in found


@pytest.mark.parametrize(
    ("old", "new", "place", "said"),
    [
        ("weights: {ssim", "weights: {clip_score", "7: selection.weights", "'clip_score' is no score of this recipe"),
        ("weights: {ssim", "weights: {weighted_score", "7: selection.weights", "'weighted_score' is no score"),
        ("weights: {ssim: 1.0}", "weights: {}", "7: selection.weights", "give at least one"),
        ("floor: {}", "floor: {clip: 0.5}", "8: selection.floor", "there are ['ssim', 'weighted_score']"),
        ("mean: {}", "mean: {clip: 0.5}", "9: selection.source_thresholds.mean", "'clip' is no score of this recipe"),
        (
            "synthvlm}",
            "synthvlm, weights: {clip: 1}}",
            "11: selection.sets.0.weights",
            "'clip' is no score of this recipe",
        ),
        ("random}", "random, weights: {}}", "12: selection.sets.1.weights", "give at least one"),
        ("{ssim: 1.0}", "{ssim: .nan}", "7: selection.weights.ssim", "finite"),
        ("floor: {}", "floor: {ssim: .inf}", "8: selection.floor.ssim", "finite"),
    ],
    ids=["weights", "weighted", "no-weights", "floor", "mean", "set", "set-no-weights", "nan", "infinite"],
)
def test_scores_that_the_recipe_does_not_have_are_refused(
    load: Callable[[str], Recipe], old: str, new: str, place: str, said: str
) -> None:
    assert load(MINE)
    assert MINE.count(old) == 1
    found = refused(load, MINE.replace(old, new))
    assert f"mine.yaml:{place}: " in found
    assert said in found
