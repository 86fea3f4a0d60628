"""LLaVA's form: what its loader finds, whatever the captions say."""

import json
import math
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.recipe import Recipe
from synthvlm_core.release import llava, stage
from synthvlm_core.store import Store

from .conftest import HOSTILE, folder_of

ids = st.text("0123456789abcdef", min_size=32, max_size=32)
hostile = st.lists(
    st.text(max_size=5) | st.sampled_from(["<image>", "<image", "<", ">", "image>", '"', "\n", "\u2028"])
).map("".join)


@given(image_id=ids, caption_id=ids, text=hostile, instruction=hostile)
def test_any_text_makes_a_conversation_about_one_picture(
    image_id: str, caption_id: str, text: str, instruction: str
) -> None:
    row = {"image_id": image_id, "caption_id": caption_id, "text": text}
    record = llava.record(row, instructions=[instruction], seed=0, extension="png")
    assert json.loads(llava.dumps([record, record])) == [record, record]
    human, gpt = record["conversations"]
    assert (human["from"], gpt["from"]) == ("human", "gpt")
    assert human["value"].endswith("\n<image>")
    assert human["value"].count("<image>") == 1
    assert "<image>" not in gpt["value"]
    assert gpt["value"].replace("< image >", "<image>") == text.replace("< image >", "<image>")


def test_a_record_is_what_llava_expects() -> None:
    row = {"image_id": "abc123", "caption_id": "d4", "text": "a red circle", "rank": 1}
    assert llava.record(row, instructions=["Describe it."], seed=0, extension="jpg") == {
        "id": "abc123",
        "image": "abc/abc123.jpg",
        "conversations": [
            {"from": "human", "value": "Describe it.\n<image>"},
            {"from": "gpt", "value": "a red circle"},
        ],
    }


def test_no_records_are_a_list_too() -> None:
    assert json.loads(llava.dumps([])) == []


def test_instructions_are_drawn_evenly_and_by_the_seed() -> None:
    instructions = [f"instruction {number}" for number in range(8)]
    captions = [f"{number:032x}" for number in range(4000)]

    def drawn(seed: int) -> list[str]:
        return [llava.instruction(instructions, seed, caption) for caption in captions]

    assert drawn(0) == drawn(0)
    single, pairs = Counter(drawn(0)), Counter(zip(drawn(0), drawn(1), strict=True))
    for counts, kinds in ((single, 8), (pairs, 64)):  # what one seed draws says nothing about another
        expected = len(captions) / kinds
        assert len(counts) == kinds
        assert all(abs(count - expected) < 5 * math.sqrt(expected) for count in counts.values())


def test_all_images_of_a_caption_share_its_instruction() -> None:
    rows = [{"image_id": f"{k:032x}", "caption_id": "c", "text": "a ring"} for k in range(20)]
    records = [llava.record(row, instructions=["one", "two"], seed=5, extension="png") for row in rows]
    assert len({record["conversations"][0]["value"] for record in records}) == 1


def test_the_released_json_finds_its_images(released: Store, recipe: Recipe) -> None:
    folder = folder_of(released, recipe) / "llava"
    entries = json.loads((folder / "synthvlm.json").read_text())
    rows = [row for part in stage.rows(released, stage.manifest(released, recipe)) for row in part.to_pylist()]
    assert [entry["id"] for entry in entries] == [row["image_id"] for row in rows]
    for entry, row in zip(entries, rows, strict=True):
        assert (folder / "images" / entry["image"]).read_bytes() == row["image"]["bytes"]
        human, gpt = entry["conversations"]
        assert human["value"].removesuffix("\n<image>") in recipe.release.instructions
        assert gpt["value"] == row["text"].replace("<image>", "< image >")
    assert HOSTILE in [row["text"] for row in rows], "the example should hold the hostile caption"
    assert len(list((folder / "images").rglob("*.*"))) == len(rows)
