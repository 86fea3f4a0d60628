"""Mapped captions: the words are Data-Juicer's, the ids follow the words, and what was read stays known."""

from collections.abc import Callable
from pathlib import Path

import ftfy
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import hashing
from synthvlm_core.captions.checks import ids_are_sound, rows_add_up
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.mappers import _PUNCTUATION, mapped
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.plan import plan
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]


@given(st.lists(st.text(alphabet=st.characters(max_codepoint=0x3100), max_size=20), min_size=1, max_size=9))
def test_unicode_is_fixed_as_ftfy_does(texts: list[str]) -> None:
    """Also of texts that are passed over because nothing in them can be wrong."""
    texts = [text.replace("\0", "") for text in texts]
    fixed = [ftfy.fix_text(text, normalization="NFC") for text in texts]
    expected = [new if new.strip() else old for new, old in zip(fixed, texts, strict=True)]
    assert mapped(pa.array(texts), ["fix_unicode"]).to_pylist() == expected


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ("Fish &amp; chips", "Fish & chips"),
        ("cafÃ©", "café"),
        ("e\u0301", "é"),
        ("two  blanks", "two  blanks"),
        ("\x1b[0m ", "\x1b[0m "),
    ],
)
def test_what_unicode_mending_is_for(text: str, mended: str) -> None:
    assert mapped(pa.array([text]), ["fix_unicode"]).to_pylist() == [mended]


@given(st.text(alphabet=st.sampled_from("，。“”—…a１ "), max_size=9))
def test_punctuation_is_replaced_letter_by_letter(text: str) -> None:
    expected = "".join(_PUNCTUATION.get(ord(letter), letter) for letter in text)
    assert mapped(pa.array([text]), ["normalize_punctuation"]).to_pylist() == [expected]


def test_mappers_apply_in_their_order() -> None:
    texts = pa.array(["a &mdash; b", "plain", "（ok）"])
    both = mapped(texts, ["fix_unicode", "normalize_punctuation"]).to_pylist()
    assert both == ["a  -  b", "plain", "(ok)"]
    assert mapped(texts, ["normalize_punctuation", "fix_unicode"]).to_pylist() == ["a — b", "plain", "(ok)"]


TEXTS = ["a red ball &amp; a box", "a red ball & a box", "“a blue ring”", "a plain green square"]


@pytest.fixture
def recipe(small_recipe: Recipe, edited: Edit, source_files: Path) -> Recipe:
    (source_files / "many.csv").write_text("text\n" + "\n".join(TEXTS))
    source = {"name": "many", "format": "csv", "files": ["many.csv"], "columns": {"text": "text"}}
    rules = [{"rule": "word_count", "min_words": 4}]
    return edited(small_recipe, {"sources": [source], "captions.rules": rules})


def test_a_changed_caption_is_another_and_the_raw_one_stands_beside_it(
    store: Store, recipe: Recipe, edited: Edit
) -> None:
    RawCaptions(store, recipe, "many").make()
    mending = edited(recipe, {"captions.mappers": ["fix_unicode", "normalize_punctuation"]})
    stage = FilteredCaptions(store, mending, "many")
    manifest = stage.make()
    assert manifest["mappers"] == ["fix_unicode", "normalize_punctuation"]
    assert (manifest["rows"], manifest["captions"], manifest["merged"]) == (4, 3, 1)

    def id_of(text: str) -> str:
        return hashing.digest(b"many", text.encode())

    [kept] = stage.kept(["caption_id", "text", "duplicates", "raw_caption_id"])
    assert kept.to_pylist() == [
        {
            "caption_id": id_of(TEXTS[1]),
            "text": TEXTS[1],
            "duplicates": 2,
            "raw_caption_id": id_of(TEXTS[0]),
        },
        {"caption_id": id_of(TEXTS[3]), "text": TEXTS[3], "duplicates": 1, "raw_caption_id": None},
    ]
    [rejected] = stage.rejected(["text", "raw_caption_id"])
    assert rejected.to_pylist() == [{"text": '"a blue ring"', "raw_caption_id": id_of(TEXTS[2])}]
    assert ids_are_sound(stage).passed
    assert rows_add_up(stage).passed


def test_without_mappers_nothing_is_renamed(store: Store, recipe: Recipe, edited: Edit) -> None:
    RawCaptions(store, recipe, "many").make()
    plain = FilteredCaptions(store, recipe, "many")
    plain.make()
    none = edited(recipe, {"captions.mappers": []})
    assert FilteredCaptions(store, none, "many").key == plain.key
    [kept] = plain.kept(["raw_caption_id"])
    assert kept["raw_caption_id"].null_count == kept.num_rows
    mending = edited(recipe, {"captions.mappers": ["fix_unicode"]})
    assert FilteredCaptions(store, mending, "many").key != plain.key
    [source] = plan(store, mending).sources
    assert (source.captions, source.kept, source.exact) == (3, 3, False)
    assert source.to_measure == {"word_count": 1}  # the mended words of one are those of another row
    made = FilteredCaptions(store, mending, "many").make()
    assert (made["captions"], made["kept"], made["measured"]) == (3, 2, 1)
