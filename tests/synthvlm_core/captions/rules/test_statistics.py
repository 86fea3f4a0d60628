"""Caption statistics against a plain transcription of Data-Juicer 1.6.1, and against its own results.

The reference below follows data_juicer/ops (Apache-2.0) statement by statement and is slow on purpose.
"""

import hashlib
import math
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from synthvlm_core.captions.rules.statistics import (
    COLUMNS,
    MAX_TEXT_BYTES,
    WRAPPED_PREFIX,
    WRAPPED_SUFFIX,
    special_code_points,
    text_statistics,
)

FLAGGED = frozenset({"damn", "b", "i\u0307", "\u03b1\u03c2", "Upper", "two words", "$tripped", ""})

# (statistic, verdict, minimum, maximum) with the paper's parameters (Appendix Table 1).
PAPER_RULES = (
    ("alnum_ratio", "keep_alnum", 0.60, math.inf),
    ("char_rep_ratio", "keep_char_rep", 0.0, 0.09373663),
    ("special_char_ratio", "keep_special", 0.16534802, 0.42023757),
    ("word_rep_ratio", "keep_word_rep", 0.0, 0.03085751),
)

CHARACTERS = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
SPECIAL = frozenset(map(chr, special_code_points()))

# Small alphabets make repeats likely; each holds what a careless implementation would get wrong.
HOSTILE = st.one_of(
    st.text(max_size=80),
    st.text("ab \t\n", max_size=200),
    st.text("aA\u03a3\u03c3\u0130\u0131'\u0301\u00ad.: \u1fb3\u01c5\u2170", max_size=60),
    st.text("a\u0301\u200b\u200d\ufeff\u00a0\u2028\r\x0b\x1c\x85\0 _", max_size=60),
    st.text("\u4e00\u4e0a\u732b\u30c4\u0967\u0661\u06f5\u00b2\u2160\U0001d7d8 ", max_size=60),
    st.text("\U0001f600\u2764\ufe0f\U0001f468\u200d\U0001f469\U0001f1e9\U0001f1ea\u00a9x ", max_size=60),
    st.builds(lambda unit, times: unit * times, st.text(min_size=1, max_size=12), st.integers(1, 60)),
    st.lists(st.sampled_from(["a", "B", "damn", "DAMN!", "(b)", "..", "\u0130", "\u0391\u03a3"]), max_size=60)
    .map(" ".join),
)  # fmt: skip


def reference(text: str, char_rep_len: int, word_rep_len: int, flagged: frozenset[str]) -> tuple[float, ...]:
    words = [stripped for word in re.split(" |\n|\t", text) if word and (stripped := strip(word.lower()))]
    characters = [text[i : i + char_rep_len] for i in range(len(text) - char_rep_len + 1)]
    frequencies = sorted(Counter(characters).values(), reverse=True)
    top = min(int(np.sqrt(len(frequencies))), len(frequencies) - frequencies.count(1))
    phrases = [" ".join(words[i : i + word_rep_len]) for i in range(len(words) - word_rep_len + 1)]
    return (
        ratio(sum(c.isalnum() for c in text), len(text)),
        ratio(sum(frequencies[:top]), len(characters)),
        ratio(sum(word in flagged for word in words), len(words)),
        ratio(sum(c in SPECIAL for c in text), len(text)),
        ratio(sum(n for n in Counter(phrases).values() if n > 1), len(phrases)),
    )


def strip(word: str) -> str:
    begin, end = 0, len(word)
    while begin < end and word[begin] in SPECIAL:
        begin += 1
    while begin < end and word[end - 1] in SPECIAL:
        end -= 1
    return word[begin:end]


def ratio(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def measure(texts: list[str], **options: Any) -> list[tuple[float, ...]]:
    arguments: dict[str, Any] = {"form": "bare", "flagged_words": FLAGGED} | options
    table = text_statistics(pa.array(texts, pa.string()), **arguments)
    return list(zip(*(table[name].to_pylist() for name in COLUMNS), strict=True))


@settings(max_examples=400, deadline=None)
@given(st.lists(HOSTILE, max_size=6), st.integers(1, 12), st.integers(1, 12))
@example(["", " ", "\u03a3", "a\u03a3", "a'\u03a3'b \u03a3a", "\u0130" * 40, "ab" * 30], 1, 1)
def test_every_text_is_measured_as_data_juicer_measures_it(texts: list[str], chars: int, words: int) -> None:
    assert measure(texts, char_rep_len=chars, word_rep_len=words) == [
        reference(text, chars, words, FLAGGED) for text in texts
    ]


@settings(max_examples=100, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=4))
def test_the_wrapped_form_is_the_text_inside_its_wrapper(texts: list[str]) -> None:
    wrapped = [f"{WRAPPED_PREFIX}{text}{WRAPPED_SUFFIX}" for text in texts]
    assert measure(texts, form="wrapped") == measure(wrapped)
    for text, (alnum, _, _, special, _) in zip(texts, measure(texts, form="wrapped"), strict=True):
        assert alnum == (sum(map(str.isalnum, text)) + 10) / (len(text) + 22)
        assert special == (sum(c in SPECIAL for c in text) + 12) / (len(text) + 22)


def test_every_character_has_the_class_that_python_gives_it() -> None:
    table = text_statistics(pa.array(CHARACTERS), form="bare", flagged_words=FLAGGED)
    assert table["alnum_ratio"].to_pylist() == [float(c.isalnum()) for c in CHARACTERS]
    assert table["special_char_ratio"].to_pylist() == [float(c in SPECIAL) for c in CHARACTERS]


@pytest.mark.parametrize("shape", ["x{c}y", "x{c}\u03a3", "{c}\u03a3", "x\u03a3{c}y", "\u0391\u03a3{c}"])
def test_words_with_any_character_are_lower_cased_as_python_does(shape: str) -> None:
    # Each text is a word and Python's lower case of it: the two repeat only if ours is the same. The shapes
    # with a capital sigma need the right neighbours to be seen past every case-ignorable character.
    words = [shape.format(c=c) for c in CHARACTERS if c not in " \n\t"]
    texts = pa.array([f"{word} {word.lower()}" for word in words])
    table = text_statistics(texts, form="bare", word_rep_len=1, flagged_words=FLAGGED)
    wrong = np.flatnonzero(table["word_rep_ratio"].to_numpy() != 1.0)
    assert [ascii(words[i]) for i in wrong if strip(words[i].lower())] == []


def test_the_special_characters_are_data_juicers() -> None:
    # The digest was taken from data_juicer 1.6.1's SPECIAL_CHARACTERS (its one-character members).
    listed = " ".join(f"{point:x}" for point in sorted(special_code_points()))
    assert (
        hashlib.sha256(listed.encode()).hexdigest()
        == "212be7c1954e3bbf3c3d4a7b30df4561def64601049993598f716fd88cca8de9"
    )


def test_a_flagged_word_matches_in_any_case_and_between_special_characters_only() -> None:
    texts = ["Damn!", "(DAMN) it", "damned", "da mn", "two words", "upper", "$tripped", "?!"]
    assert [row[2] for row in measure(texts)] == [1.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert [row[2] for row in measure(texts, flagged_words=frozenset())] == [0.0] * len(texts)


def test_chunks_slices_and_string_types_make_no_difference() -> None:
    texts = ["", "a dog", "\u732b and a damn cat", "ab" * 40, "\U0001f600 ok", "end"]
    whole = text_statistics(pa.array(texts), form="wrapped", flagged_words=FLAGGED)
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        padded = pa.array(["padding", *texts, "padding"], kind)
        chunks = pa.chunked_array([padded[1:3], padded[3:3], padded[3:7]], kind)
        assert text_statistics(chunks, form="wrapped", flagged_words=FLAGGED).equals(whole)
        assert text_statistics(padded[1:7], form="wrapped", flagged_words=FLAGGED).equals(whole)


@pytest.mark.parametrize("texts", [pa.array([], pa.string()), pa.chunked_array([], pa.string())])
def test_no_texts_give_an_empty_table_with_its_columns(texts: pa.Array | pa.ChunkedArray) -> None:
    table = text_statistics(texts, form="bare", flagged_words=FLAGGED)
    assert table.schema == pa.schema([(name, pa.float64()) for name in COLUMNS])
    assert table.num_rows == 0


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (pa.array(["a", None]), "null, the first at row 1"),
        (pa.array([b"a"]), "type binary"),
        (pa.array([None]), "type null"),
        (pa.array([b"\xed\xa0\x80"]).view(pa.string()), "not valid UTF-8"),
        (pa.array(["a" * (MAX_TEXT_BYTES + 1)]), "is the most"),
    ],
    ids=["null", "binary", "null type", "lone surrogate", "too long"],
)
def test_input_that_cannot_be_measured_is_refused_with_the_reason(texts: pa.Array, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        text_statistics(texts, form="bare", flagged_words=FLAGGED)


@pytest.mark.parametrize(
    "options",
    [{"form": "plain"}, {"char_rep_len": 0}, {"word_rep_len": -1}, {"flagged_words": frozenset({"\ud800"})}],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"form|rep_len|surrogate"):
        measure(["a"], **options)


def test_hostile_texts_cost_time_in_proportion_to_their_length() -> None:
    measure(["compile first"])
    patterns = ["a", "\u03a3", "\u03a3''", "a ", "\u0130", ". ", "0123456789", "\U0001f600", "ab\n"]
    random = np.random.default_rng(0)
    texts = [pattern * (300_000 // len(pattern)) for pattern in patterns]
    texts.append("".join(map(chr, random.integers(0x4E00, 0x9FFF, 300_000))))
    texts.append(" ".join(map(str, random.integers(0, 10**9, 30_000))))
    started = time.perf_counter()
    measure(texts)
    # About 0.3 s; anything quadratic in 300,000 characters would take minutes.
    assert time.perf_counter() - started < 10


@pytest.mark.skipif("SYNTHVLM_REAL_DATA" not in os.environ, reason="SYNTHVLM_REAL_DATA does not name the real data")
@pytest.mark.parametrize("form", ["wrapped", "bare"])
def test_real_captions_get_data_juicers_statistics_and_verdicts(form: Literal["wrapped", "bare"]) -> None:
    path = Path(os.environ["SYNTHVLM_REAL_DATA"]) / "datajuicer_text_statistics.parquet"
    theirs = pq.read_table(path, filters=[("mode", "=", form)])
    assert theirs.num_rows > 10_000
    ours = text_statistics(theirs["text"], form=form, flagged_words=FLAGGED)
    for statistic, verdict, minimum, maximum in PAPER_RULES:
        found, expected = ours[statistic].to_numpy(), theirs[statistic].to_numpy()
        assert np.abs(found - expected).max() <= 1e-12
        differing = ((found >= minimum) & (found <= maximum)) != theirs[verdict].to_numpy()
        assert differing.sum() == 0
