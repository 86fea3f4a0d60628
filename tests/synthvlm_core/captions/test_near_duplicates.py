"""Near-duplicates: equal to comparing each with each, whatever the tables, and nothing is left among the kept."""

import re
import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_core.captions.near_duplicates import Found, bands_of, near_duplicates


def found(texts: list[str], *, threshold: float = 0.7, words: int = 2, rows: int = 3, order: object = None) -> Found:
    def tables() -> Iterator[pa.Table]:
        for first in range(0, len(texts), rows):
            yield pa.table({"text": pa.array(texts[first : first + rows], pa.string())})

    places = np.arange(len(texts)) if order is None else np.asarray(order, np.int64)
    return near_duplicates(tables, len(texts), places, shingle_words=words, threshold=threshold)


def sets(text: str, words: int = 2) -> frozenset[tuple[str, ...]]:
    """The definition, in Python."""
    found = [word.strip(string.punctuation) for word in re.split(r"[ \t\n\r\v\f]+", text.lower())]
    found = [word for word in found if word]
    length = min(words, len(found))
    return frozenset(tuple(found[n : n + length]) for n in range(len(found) - length + 1)) if found else frozenset()


def jaccard(first: frozenset[tuple[str, ...]], second: frozenset[tuple[str, ...]]) -> float:
    both = len(first | second)
    return len(first & second) / both if both else 0.0


def compared(texts: list[str], threshold: float, words: int = 2) -> list[int]:
    """Each with every kept one before it."""
    shingles, kept, instead = [sets(text, words) for text in texts], [], []
    for number, own in enumerate(shingles):
        near = [(jaccard(own, shingles[other]), -other) for other in kept]
        best = max((one for one in near if one[0] >= threshold), default=None)
        instead.append(-1 if best is None else -best[1])
        if best is None:
            kept.append(number)
    return instead


def test_captions_that_differ_in_a_word_go_for_the_first() -> None:
    texts = [
        "a large red ball lies on the green grass of the park",
        "a large blue ball lies on the green grass of the park",
        "Two cats.",
        "A large RED ball lies on the green grass of the park!",
        "two  cats",
    ]
    assert found(texts, threshold=0.6).instead.tolist() == [-1, 0, -1, 0, 2]
    assert found(texts, threshold=0.6).similarity.tolist() == [0.0, pytest.approx(9 / 13), 0.0, 1.0, 1.0]
    assert found(texts, threshold=0.8).instead.tolist() == [-1, -1, -1, 0, 2]


def test_the_preferred_one_is_kept() -> None:
    texts = ["one two three four five six", "one two three four five six seven"]
    assert found(texts, order=[1, 0]).instead.tolist() == [1, -1]


def test_there_are_no_chains() -> None:
    """The second is near the first and the third near the second, which is not kept."""
    texts = ["a b c d e f g h", "b c d e f g h i", "c d e f g h i j"]
    assert found(texts, threshold=0.7).instead.tolist() == [-1, 0, -1]


def test_what_has_no_words_is_like_nothing() -> None:
    assert found(["", "...", " ", "?! ?!", "a", "a."]).instead.tolist() == [-1, -1, -1, -1, -1, 4]
    assert found([]).instead.tolist() == []


WORDS = st.sampled_from(["a", "b", "c", "d", "e", "f", "red", "blue", "ball", "Ball,", "Ünïcode", "猫", "don't"])
TEXTS = st.lists(st.lists(WORDS, max_size=9).map(" ".join), max_size=24)


@settings(max_examples=200)
@given(TEXTS, st.sampled_from([0.5, 0.7, 0.9]), st.integers(1, 3))
def test_nothing_is_a_duplicate_that_is_none_and_kept_ones_are_apart(
    texts: list[str], threshold: float, words: int
) -> None:
    result = found(texts, threshold=threshold, words=words)
    shingles = [sets(text, words) for text in texts]
    for number, other in enumerate(result.instead.tolist()):
        if other >= 0:
            assert result.instead[other] == -1
            assert result.similarity[number] == jaccard(shingles[number], shingles[other]) >= threshold
    kept = [text for text, other in zip(texts, result.instead, strict=True) if other < 0]
    assert (found(kept, threshold=threshold, words=words).instead == -1).all()
    assert found(texts, threshold=threshold, words=words, rows=100).instead.tolist() == result.instead.tolist()


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_real_captions_are_judged_as_by_comparing_each_with_each(real_data: Path, threshold: float) -> None:
    file = real_data / "laion_style" / "alt_text_half.parquet"
    texts = list(dict.fromkeys(text for text in pq.read_table(file)["TEXT"].to_pylist() if text))[:1500]
    # as many again that differ in a word, since few are near as they are
    texts += [re.sub(r"\S+", "other", text, count=1) for text in texts[:600] if len(text.split()) > 3]
    wanted, result = compared(texts, threshold), found(texts, threshold=threshold, rows=700)
    assert wanted.count(-1) < len(texts) - 20
    same = sum(one == other for one, other in zip(wanted, result.instead.tolist(), strict=True))
    assert same >= 0.998 * len(texts)  # what bands miss


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.9])
def test_bands_miss_few_pairs_above_a_threshold(threshold: float) -> None:
    bands, rows = bands_of(threshold)
    assert bands * rows <= 128
    assert (1 - threshold**rows) ** bands <= 0.005
    assert (1 - (threshold + 0.05) ** rows) ** bands < 0.002


def test_many_that_are_nearly_one_take_no_longer_than_others() -> None:
    """One bucket of all of them: each is compared with what is kept, not with each other."""
    texts = [f"a stock photo of the very same red ball on green grass number {number}" for number in range(20_000)]
    result = found(texts, rows=5_000)
    assert (result.instead[1:] == 0).all()
