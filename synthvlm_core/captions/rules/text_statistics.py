"""The five text statistics as one measurement: one pass of the kernel over a caption gives them all.

Belongs here: what they depend on, and calling the kernel. Does not belong here: their definitions (statistics.py),
bounds (the rules).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from synthvlm_core.captions.rules.word_lists import WordList
from synthvlm_core.parts.rule import CaptionContext, Rule
from synthvlm_core.parts.section import definition
from synthvlm_core.store import records
from synthvlm_core.store.measurements import Measure, Measurement

VERSION = 1
DEFAULT_REP_LEN = 10
"""Length of the n-grams where no rule asks for another. Frozen: part of what the absence of such a rule means."""
_ABSENT: dict[str, Any] = {"char_rep_len": DEFAULT_REP_LEN, "word_rep_len": DEFAULT_REP_LEN, "flagged_words": None}


class TextRule(Rule):
    """A rule on one of the text statistics."""

    def parameters(self, context: CaptionContext) -> dict[str, Any]:
        """What the rule asks the statistics to be measured with: `char_rep_len`, `word_rep_len`, or `flagged_words`, a
        WordList."""
        return {}

    def measurement(self, context: CaptionContext) -> Measurement:
        return measurement(context)


def measurement(context: CaptionContext) -> Measurement:
    """The statistics as the recipe's rules define them. Raises Mendable if a list of words is not there."""
    asked = dict(_ABSENT)
    for rule in context.rules:
        if isinstance(rule, TextRule):
            asked |= rule.parameters(context)
    words: WordList | None = asked["flagged_words"]
    asked["flagged_words"] = words.sha256 if words else None
    named = {name: value for name, value in asked.items() if value != _ABSENT[name]}
    return Measurement(
        table=records.TEXT_STATISTICS,
        definition=definition(records.TEXT_STATISTICS.name, VERSION, {"form": context.text_form, **named}),
        load=partial(
            _load,
            context.text_form,
            asked["char_rep_len"],
            asked["word_rep_len"],
            words.words if words else frozenset(),
        ),
    )


def _load(form: Any, char_rep_len: int, word_rep_len: int, words: frozenset[str]) -> Measure:
    from synthvlm_core.captions.rules import statistics  # loading a recipe must not load numba

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        found = statistics.text_statistics(
            rows["text"], form=form, char_rep_len=char_rep_len, word_rep_len=word_rep_len, flagged_words=words
        )
        return found.add_column(0, "caption_id", rows["caption_id"])

    return measure
