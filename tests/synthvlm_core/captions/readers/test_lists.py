"""The items of one list of a JSON object: what Python's own parser says, in memory that a file cannot make grow."""

import io
import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.captions.readers import lists
from synthvlm_core.captions.readers.lists import Lists, NotText, Overlong
from synthvlm_core.parts.source import Unreadable

LIMIT = 1 << 20
WORDS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9)
)
VALUES = st.recursive(WORDS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner))
OBJECTS = st.dictionaries(st.sampled_from(["captions", "image_urls", "", "x\n", "é"]), VALUES | st.lists(VALUES))


def items(content: bytes, key: str = "captions") -> list[bytes | None]:
    return list(Lists("odd.json", io.BytesIO(content), LIMIT).items(key))


def kinds_of(value: Any) -> list[Any]:
    """What `items` gives for a list as Python's parser reads it: text, None, or that it is no text."""
    if not isinstance(value, list):
        return []
    return [item.encode("utf-8", "surrogatepass") if isinstance(item, str) else item for item in value]


def alike(found: list[bytes | None], expected: list[Any]) -> bool:
    return len(found) == len(expected) and all(
        type(one) is NotText if not isinstance(other, bytes | None) else one == other and type(one) is not NotText
        for one, other in zip(found, expected, strict=True)
    )


@given(OBJECTS, st.sampled_from([None, 1, "\t"]), st.booleans(), st.sampled_from([1, 2, 7, 1 << 20]))
def test_items_are_those_of_pythons_parser(value: dict[str, Any], indent: Any, ascii_: bool, block: int) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=ascii_).encode("utf-8", "surrogatepass")
    before, lists._BLOCK = lists._BLOCK, block
    try:
        assert alike(items(content), kinds_of(value.get("captions")))
    finally:
        lists._BLOCK = before


def is_object(content: bytes) -> bool:
    try:
        return isinstance(json.loads(content.decode("utf-8", "surrogateescape"), strict=False), dict)
    except ValueError:
        return False


@given(st.binary(max_size=60) | st.text('{}[]",:\\ captions01e-+.nulltrue\n', max_size=60).map(str.encode))
def test_whatever_bytes_come_the_answer_is_items_or_an_error_that_names_the_file(content: bytes) -> None:
    for start in (b"", b'{"captions": ["a", ', b'{"captions": ["a"], "x": '):
        if is_object(start + content):
            items(start + content)
            continue
        try:
            items(start + content)
        except Unreadable as error:
            told = str(error)
        else:
            told = ""  # what is passed over need not be JSON in every letter
        assert not told or told.startswith("odd.json: is not readable as JSON")


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "ends too early"),
        (b'{"captions": ["a"', "ends too early"),
        (b'{"captions": ["a', "ends within a string"),
        (b'{"captions": ["a" "b"]}', "stands where , or ] must"),
        (b'{"captions": ["a",]}', "a value is not expected"),
        (b'{"captions": [01]}', "'01' is not expected"),
        (b'{"captions": [nul]}', "'nul' is not expected"),
        (b'{"captions": ["\\x"]}', "a string with the escape"),
        (b'{"captions": [{"a" 1}]}', "stands where : must"),
        (b'{"x": [1}, "captions": []}', "stands where , or ] must"),
        (b'{"captions": []} {}', "something follows the end"),
        (b'{captions: ["a"]}', "a key is missing"),
        (b'[{"caption": "a"}]', "stands where { must.*looks like a JSON list"),
        (b"caption,url\na,b\nc,d\n", "looks like a CSV of 2 columns, its header caption, url"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(content: bytes, match: str) -> None:
    with pytest.raises(Unreadable, match=match):
        items(content)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (b"1" * 66_000, NotText),  # ended the process of a parser written in C
        (b"-1e" + b"9" * (4 << 20), NotText),
        (b"[" * 50_000 + b"]" * 50_000, NotText),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, NotText),
        (b'"' + b"a" * (8 << 20) + b'"', Overlong),
        (b'"' + b'\\"' * (4 << 20) + b'"', Overlong),
        (b"[" + b'"a",' * (1 << 20) + b"1]", NotText),
    ],
    ids=["number", "exponent", "lists", "objects", "string", "escapes", "long list"],
)
def test_no_item_is_held_whole_and_the_next_one_is_read(item: bytes, kind: type) -> None:
    content = b'{"captions": ["a", ' + item + b', "b"]}'
    begin = time.monotonic()
    tracemalloc.start()
    found = items(content)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (found[0], type(found[1]), found[2]) == (b"a", kind, b"b")
    assert len(found[1] or b"") <= 4096
    assert peak < 12 << 20
    assert time.monotonic() - begin < 20
    if kind is NotText:  # a key that nobody reads is passed over as well
        assert items(b'{"x": ' + item + b', "captions": ["c"]}') == [b"c"]


def test_what_nests_without_measure_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_DEPTH", 1000)
    assert items(b'{"x": ' + b"[" * 999 + b"]" * 999 + b', "captions": ["c"]}') == [b"c"]
    with pytest.raises(Unreadable, match="nest more than 1000 deep"):
        items(b'{"x": ' + b"[" * 200_000)


def test_many_items_that_are_no_text_take_time_by_their_number() -> None:
    content = b'{"captions": [' + b"null," * 200_000 + b'"a"]}'
    begin = time.monotonic()
    assert len(items(content)) == 200_001
    assert time.monotonic() - begin < 20
