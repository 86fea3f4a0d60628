"""Rules as sections: what they take, their bounds, what they measure, and what this version cannot apply."""

import pickle
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic import ValidationError

from synthvlm_core.captions.filtered import not_applied
from synthvlm_core.captions.rules import statistics, text_statistics
from synthvlm_core.captions.rules.text_statistics import TextRule
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.rule import Bounds, CaptionContext, Rule
from synthvlm_core.recipe import loading

MODEL = {"id": "package:synthvlm_miniature/models/language"}
THIS = __file__
ASK = {"rule": "judge", "model": MODEL, "prompt": "{caption}?"}
SERVED = {"rule": "served_judge", "model": "judge", "prompt": "{caption}?"}
PERPLEXITY = {"rule": "perplexity", "model": MODEL, "max_ppl": 20.0}
RULES: list[tuple[dict[str, Any], Bounds]] = [
    ({"rule": "alphanumeric", "min_ratio": 0.6}, Bounds(0.6, None)),
    ({"rule": "alphanumeric", "min_ratio": 0.6, "max_ratio": 0.6}, Bounds(0.6, 0.6)),
    ({"rule": "special_characters", "max_ratio": 0.4}, Bounds(None, 0.4)),
    ({"rule": "character_repetition", "rep_len": 10, "max_ratio": 0.1}, Bounds(None, 0.1)),
    ({"rule": "word_repetition", "rep_len": 3, "max_ratio": 0.0}, Bounds(None, 0.0)),
    ({"rule": "flagged_words", "max_ratio": 0.0}, Bounds(None, 0.0)),
    (PERPLEXITY, Bounds(None, 20.0)),
    (ASK, Bounds(0.5, None)),
    ({"rule": "served_judge", "model": "judge", "prompt": "{caption}?", "min_yes": 0.7}, Bounds(0.7, None)),
    ({"rule": "kenlm_perplexity", "model": THIS, "sentencepiece": THIS, "max_ppl": 5500.0}, Bounds(None, 5500.0)),
    ({"rule": "image_text_matching", "model": MODEL, "min_score": 0.8}, Bounds(0.8, None)),
    ({"rule": "image_text_similarity", "model": MODEL, "min_score": 0.2, "max_score": 0.3}, Bounds(0.2, 0.3)),
]


def rule(values: dict[str, Any]) -> Rule:
    found = kinds("synthvlm_core.captions.rules")[values["rule"]].model_validate(values)
    assert isinstance(found, Rule)
    return found


def context(*rules: Rule, form: str = "wrapped", folder: str = "") -> CaptionContext:
    return CaptionContext(folder, 0, 1, form, rules)


@pytest.mark.parametrize(("values", "bounds"), RULES)
def test_what_passes(values: dict[str, Any], bounds: Bounds) -> None:
    assert rule(values).bounds() == bounds


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rule": "alphanumeric"}, "needs min_ratio, max_ratio or both"),
        ({"rule": "special_characters", "min_ratio": 0.5, "max_ratio": 0.4}, "min_ratio must not exceed max_ratio"),
        ({"rule": "alphanumeric", "min_ratio": 1.5}, "less than or equal to 1"),
        ({"rule": "alphanumeric", "min_ratio": 0.5, "rep_len": 3}, "Extra inputs"),
        ({"rule": "word_repetition", "rep_len": 0, "max_ratio": 0.1}, "greater than or equal to 1"),
        ({"rule": "word_repetition", "rep_len": 101, "max_ratio": 0.1}, "less than or equal to 100"),
        ({"rule": "perplexity", "model": MODEL, "max_ppl": 0.0}, "greater than 0"),
        ({**ASK, "prompt": "Can it be drawn?"}, r"prompt must contain \{caption\}"),
        ({**ASK, "answers": "cloud"}, "'here' or 'server'"),
        ({**SERVED, "prompt": "Can it be drawn?"}, r"prompt must contain \{caption\}"),
        ({**SERVED, "server": "localhost:8000"}, "server must be an address like"),
        ({**SERVED, "server": "file:///etc/passwd"}, "server must be an address like"),
        ({**SERVED, "server": "http://me:secret@here/v1"}, "keys come from the environment"),
        ({**SERVED, "server": "http://here/v1?api_key=secret"}, "keys come from the environment"),
        ({**SERVED, "key_env": "sk-secret"}, "key_env"),
    ],
)
def test_what_a_rule_does_not_take(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        rule(values)


@pytest.mark.parametrize(("values", "bounds"), RULES)
def test_a_statistic_is_a_column_of_what_is_measured(values: dict[str, Any], bounds: Bounds) -> None:
    one = rule(values)
    if one.unavailable(context(one)) is None:
        measurement = one.measurement(context(one))
        assert one.statistic in measurement.table.names
        assert measurement.table.key == "caption_id"
        pickle.dumps(measurement.load)  # an engine may carry it to another process


def test_what_this_version_cannot_apply_says_what_can() -> None:
    assert not_applied(loading.load("paper")) == {}
    earlier = (rule({**ASK, "answers": "server"}), rule({**PERPLEXITY, "scorer": "kenlm"}))
    assert [one.unavailable(context(one)) for one in earlier] == [
        "a judge on a server is a rule of its own: {rule: served_judge, model: …, server: …, prompt: …}",
        "KenLM is a rule of its own: {rule: kenlm_perplexity, model: …, sentencepiece: …, max_ppl: …}",
    ]
    assert not_applied(loading.load("miniature")) == {}


def measured(*rules: Rule, form: str = "wrapped", text: str = "one two one two") -> tuple[str, dict[str, float]]:
    measurement = text_statistics.measurement(context(*rules, form=form))
    rows = pa.table({"caption_id": ["c"], "text": [text]})
    found = measurement.load()(rows, lambda done: None)
    assert found.column_names == measurement.table.names
    [row] = found.to_pylist()
    return measurement.definition, {name: value for name, value in row.items() if name != "caption_id"}


def test_the_rules_on_text_are_measured_together() -> None:
    chosen = [rule(values) for values, _ in RULES if issubclass(type(rule(values)), TextRule)]
    assert len({one.measurement(context(*chosen)).definition for one in chosen}) == 1


def test_each_rule_brings_its_parameter() -> None:
    bare, none = measured(form="bare")
    assert (
        none
        == statistics.text_statistics(
            pa.array(["one two one two"]), form="bare", flagged_words=frozenset()
        ).to_pylist()[0]
    )
    words = rule({"rule": "word_repetition", "rep_len": 2, "max_ratio": 0.0})
    changed, values = measured(words, form="bare")
    assert changed != bare
    assert values["word_rep_ratio"] == pytest.approx(2 / 3)
    assert {name: value for name, value in values.items() if name != "word_rep_ratio"} == {
        name: value for name, value in none.items() if name != "word_rep_ratio"
    }
    characters = rule({"rule": "character_repetition", "rep_len": 2, "max_ratio": 0.0})
    assert measured(characters, form="bare")[1]["char_rep_ratio"] > none["char_rep_ratio"]
    assert measured(form="wrapped")[0] != bare


def test_a_length_that_is_the_default_is_the_absence_of_the_rule() -> None:
    """Taking such a rule out of a recipe, or putting it in, measures nothing anew."""
    ten = [
        rule({"rule": name, "rep_len": 10, "max_ratio": 0.1}) for name in ("word_repetition", "character_repetition")
    ]
    assert measured(*ten)[0] == measured()[0]


def test_a_word_list_counts_by_its_words(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one\ntwo\n")
    (tmp_path / "b.txt").write_text("# the same\nTWO\none\n")
    lists = [rule({"rule": "flagged_words", "words": name, "max_ratio": 0.0}) for name in ("a.txt", "b.txt")]
    found = [one.measurement(context(one, form="bare", folder=str(tmp_path))) for one in lists]
    assert found[0].definition == found[1].definition
    rows = pa.table({"caption_id": ["c"], "text": ["one three"]})
    assert found[0].load()(rows, lambda done: None)["flagged_words_ratio"].to_pylist() == [0.5]
    assert lists[0].content(context(folder=str(tmp_path))) == lists[1].content(context(folder=str(tmp_path)))
    assert "cannot be read" in (lists[0].problem(context(folder=str(tmp_path / "none"))) or "")
