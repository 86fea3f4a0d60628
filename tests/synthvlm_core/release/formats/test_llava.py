"""LLaVA's form: what its loader finds, whatever the captions say, and what is refused on reading."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.parts.format import SetContext
from synthvlm_core.release.formats import llava
from synthvlm_core.release.formats.llava import JSON_NAME, Llava

from .conftest import INSTRUCTIONS, TABLE, Write, context_of, rows_of

FORM = Llava(format="llava")
ids = st.text("0123456789abcdef", min_size=32, max_size=32)
hostile = st.lists(
    st.text(max_size=5) | st.sampled_from(["<image>", "<image", "<", ">", "image>", '"', "\n", "\u2028"])
).map("".join)


def context(*instructions: str, extension: str = "png") -> SetContext:
    return SetContext(TABLE, 1, 1, extension, instructions, 0)


@given(image_id=ids, caption_id=ids, text=hostile, instruction=hostile)
def test_any_text_makes_a_conversation_about_one_picture(
    image_id: str, caption_id: str, text: str, instruction: str
) -> None:
    row = {"image_id": image_id, "caption_id": caption_id, "text": text}
    record = llava.record(row, context(instruction))
    assert json.loads(llava.dumps([record, record])) == [record, record]
    human, gpt = record["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].endswith("\n<image>")
    assert human["value"].count("<image>") == 1
    assert "<image>" not in gpt["value"]
    assert gpt["value"].replace("< image >", "<image>") == text.replace("< image >", "<image>")


def test_a_record_is_what_llava_expects() -> None:
    row = {"image_id": "abc123", "caption_id": "d4", "text": "a red circle", "rank": 1}
    assert llava.record(row, context("Describe it.", extension="jpg")) == {
        "id": "abc123",
        "image": "abc/abc123.jpg",
        "conversations": [
            {"from": "human", "value": "Describe it.\n<image>"},
            {"from": "gpt", "value": "a red circle"},
        ],
    }


def test_the_json_finds_its_images(write: Write) -> None:
    rows = rows_of(["a ring", "a <image> of a ring", "über 三角形"])
    files = write(FORM, rows)
    entries = json.loads(files[JSON_NAME])
    assert [entry["id"] for entry in entries] == rows["image_id"].to_pylist()
    for entry, row in zip(entries, rows.to_pylist(), strict=True):
        assert files[f"images/{entry['image']}"] == row["image"]["bytes"]
        human, gpt = entry["conversations"]
        assert human["value"] in [f"{llava.plain(said)}\n<image>" for said in INSTRUCTIONS]
        assert gpt["value"] == row["text"].replace("<image>", "< image >")
    assert len(files) == 1 + len(entries)


def without_answer(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    entries[1]["conversations"].pop()
    return entries


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda entries: None, "is no list of conversations", id="no list"),
        pytest.param(lambda entries: [*entries, {}], "entry 3: no conversation about one picture", id="an empty one"),
        pytest.param(without_answer, "entry 1: no conversation about one picture", id="no answer"),
        pytest.param(
            lambda entries: [{**entries[0], "image": "../../etc/passwd.png"}],
            "entry 0: no conversation",
            id="a foreign path",
        ),
        pytest.param(lambda entries: entries[1:], "is a picture of no conversation", id="one is gone"),
    ],
)
def test_what_is_no_conversation_is_named(write: Write, change: Callable[[Any], Any], said: str) -> None:
    rows = rows_of(["one", "two", "three"])
    files = write(FORM, rows)
    files[JSON_NAME] = json.dumps(change(json.loads(files[JSON_NAME]))).encode()
    with pytest.raises(ValueError, match=said):
        list(FORM.pairs(files.__getitem__, list(files), context_of(rows)))


def test_a_cut_json_and_a_missing_picture_are_named(write: Write) -> None:
    rows = rows_of(["one", "two"])
    files = write(FORM, rows)
    with pytest.raises(ValueError, match=r"llava/synthvlm.json is no JSON"):
        list(FORM.pairs(lambda name: files[name][:-10], list(files), context_of(rows)))
    picture = max(name for name in files if name != JSON_NAME)
    with pytest.raises(ValueError, match=f"no file llava/{picture}"):
        list(FORM.pairs(files.__getitem__, [name for name in files if name != picture], context_of(rows)))
