"""Rules that the paper does not have, each against a plain reference, and against captions made to hurt."""

import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.captions.rules import blocklist, personal_data, statistics
from synthvlm_core.captions.rules.own_statistic import OwnStatistic
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.rule import CaptionContext

WORDS = st.text(alphabet=st.sampled_from("aBé1 \t\n.-,'\u00a0_ß"), max_size=30)


def rule(**values: Any) -> OwnStatistic:
    found = kinds("synthvlm_core.captions.rules")[values["rule"]].model_validate(values)
    assert isinstance(found, OwnStatistic)
    return found


def values(one: OwnStatistic, texts: list[str], folder: str = "") -> list[float]:
    measurement = one.measurement(CaptionContext(folder, 0, 1, "bare", (one,)))
    rows = pa.table({"caption_id": [str(number) for number in range(len(texts))], "text": pa.array(texts, pa.string())})
    found = measurement.load()(rows, lambda done: None)
    assert found.column_names == measurement.table.names
    listed: list[float] = found[one.statistic].to_pylist()
    return listed


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_words_are_what_white_space_parts(texts: list[str]) -> None:
    assert values(rule(rule="word_count", min_words=1), texts) == [len(text.split()) for text in texts]


@given(st.lists(WORDS, min_size=1, max_size=5))
def test_diversity_is_the_share_of_different_words(texts: list[str]) -> None:
    words = [text.lower().split() for text in texts]
    expected = [len(set(some)) / len(some) if some else 0.0 for some in words]
    assert values(rule(rule="lexical_diversity", min_ratio=0.5), texts) == expected


@pytest.mark.parametrize(
    ("kind", "text", "spans"),
    [
        ("email", "write to jane.doe+x@mail.example.org, or a@b.de.", ["jane.doe+x@mail.example.org", "a@b.de"]),
        ("email", "@handle, a@b, 5 @ 3.50 and me@here", []),
        ("phone", "call +49 (30) 1234-5678 or (555) 123-4567 today", ["+49 (30) 1234-5678", "(555) 123-4567"]),
        ("phone", "555-123-4567", ["555-123-4567"]),
        ("phone", "1920-1080, 2019-2020, ISBN 978-3-16-148410-0, 10 000 000, +5 degrees", []),
        ("card", "4111 1111 1111 1111 and 5500-0000-0000-0004", ["4111 1111 1111 1111", "5500-0000-0000-0004"]),
        ("card", "4111 1111 1111 1112, 0000000000000000, 12345678901234", []),
        ("ip", "host 192.168.0.1 or 2001:db8::ff00:42:8329", ["192.168.0.1", "2001:db8::ff00:42:8329"]),
        ("ip", "version 1.2.3, 1.2.3.4.5, 300.1.1.1, at 10:30:15, ratio 16:9, ::", []),
    ],
)
def test_personal_data_is_found_and_what_looks_like_it_is_not(kind: Any, text: str, spans: list[str]) -> None:
    one = rule(rule="personal_data", kinds=(kind,))
    assert one.counted(text, CaptionContext("", 0, 1, "bare", ())) == spans
    assert values(one, [text, "a red ball"]) == [len(spans), 0]


def test_every_kind_counts_and_the_kinds_are_part_of_the_definition() -> None:
    text = "a@b.de +49 30 1234567 4111111111111111 10.0.0.1"
    assert values(rule(rule="personal_data"), [text]) == [4.0]
    context = CaptionContext("", 0, 1, "bare", ())
    alike = [rule(rule="personal_data"), rule(rule="personal_data", kinds=personal_data.KINDS, max_count=3)]
    assert len({one.measurement(context).definition for one in alike}) == 1
    assert rule(rule="personal_data", kinds=("ip",)).measurement(context).definition not in {
        one.measurement(context).definition for one in alike
    }


PHRASES = ("a b", "ab", "a-b", "é", "b.")


def reference(text: str, phrases: tuple[str, ...]) -> int:
    """Phrases from the left, the longest first, no letter or digit beside them."""
    found, at = 0, 0
    spelled = sorted(phrases, reverse=True)
    while at < len(text):
        for phrase in spelled:
            pattern = re.compile(r"\s+".join(map(re.escape, phrase.split())), re.IGNORECASE)
            match = pattern.match(text, at)
            if match and (at == 0 or not text[at - 1].isalnum()) and not text[match.end() : match.end() + 1].isalnum():
                found, at = found + 1, match.end() - 1
                break
        at += 1
    return found


@given(st.text(alphabet=st.sampled_from("abé -."), max_size=14))
def test_phrases_are_found_where_no_letter_adjoins(text: str) -> None:
    [count] = blocklist._Counter(tuple(sorted(PHRASES)))(pa.array([text])).to_pylist()
    assert count == reference(text, PHRASES)


def test_stock_photos_are_known_by_their_words(tmp_path: Path) -> None:
    one = rule(rule="blocklist", words="stock-photos")
    texts = [
        "Royalty-Free Stock Photo",
        "SHUTTERSTOCK 12",
        "gettyimages",
        "a stock of photos",
        "istocks",
        "Getty Images",
    ]
    assert values(one, texts) == [2, 1, 1, 0, 0, 1]


def test_a_list_of_ones_own_is_read_and_its_words_are_its_identity(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("# brands\nAcme  Corp\nfoo (bar)\n")
    (tmp_path / "same.json").write_text('["foo (bar)", "acme corp"]')
    one, same = (rule(rule="blocklist", words=name) for name in ("mine.txt", "same.json"))
    assert values(one, ["by ACME\ncorp", "acme corporation", "foo (bar)"], str(tmp_path)) == [1, 0, 1]
    context = CaptionContext(str(tmp_path), 0, 1, "bare", ())
    assert one.measurement(context).definition == same.measurement(context).definition
    assert one.problem(context) is None
    told = rule(rule="blocklist", words="gone.txt").problem(context)
    assert told is not None
    assert told.startswith("words: word list gone.txt: ")


def test_languages_are_told_apart() -> None:
    one = rule(rule="language", languages=("en",))
    texts = [
        "a small dog runs along the beach with a red ball",
        "Un chien court sur la plage avec une balle rouge",
        "Мальчик играет в мяч",
        "犬が走る",
        "Tomb Raider: Legend",
    ]
    found = values(one, texts)
    assert [value >= 0.1 for value in found] == [True, False, False, False, True]
    both = values(rule(rule="language", languages=("en", "fr")), texts)
    assert [value >= 0.1 for value in both] == [True, True, False, False, True]
    context = CaptionContext("", 0, 1, "bare", ())
    assert rule(rule="language", languages=("en",), among=("en", "qqq")).problem(context) == (
        "among: the model does not know qqq"
    )
    with pytest.raises(ValueError, match="languages: fr must stand in among as well"):
        rule(rule="language", languages=("fr",), among=("en", "de"))


HOSTILE = [
    "1 " * 100_000,
    "a@" * 100_000,
    "+1 (" * 50_000,
    "1.1." * 50_000,
    ":" * 200_000,
    "a." * 100_000 + "@",
    "\0",
    "",
]


@pytest.mark.parametrize(
    "keys",
    [
        {"rule": "word_count", "min_words": 1},
        {"rule": "lexical_diversity", "min_ratio": 0.1},
        {"rule": "personal_data"},
        {"rule": "blocklist", "words": "stock-photos"},
    ],
    ids=lambda keys: keys["rule"],
)
def test_no_caption_takes_long(keys: dict[str, Any]) -> None:
    """Two hundred thousand characters that nearly match: what is quadratic takes minutes."""
    began = time.monotonic()
    assert len(values(rule(**keys), HOSTILE)) == len(HOSTILE)
    assert time.monotonic() - began < 20


@given(st.lists(st.sampled_from(["Heck", "heck!", "(darn)", "fine", "da rn", "#heck", "x\theck", "é"]), max_size=9))
def test_the_words_that_counted_are_those_of_the_ratio(words: list[str]) -> None:
    text = " ".join(words)
    flagged = frozenset({"heck", "darn"})
    found = statistics.words_of(text)
    ratio = statistics.text_statistics(pa.array([text]), form="bare", flagged_words=flagged)["flagged_words_ratio"]
    assert ratio.to_pylist() == [sum(word in flagged for word in found) / len(found) if found else 0.0]


def test_phrases_that_counted_are_told() -> None:
    one = rule(rule="blocklist", words="stock-photos")
    context = CaptionContext("", 0, 1, "bare", ())
    assert one.counted("A Royalty-Free\nStock  Photo by istocks", context) == ["royalty-free", "stock photo"]
    assert one.counted("a red ball", context) == []
