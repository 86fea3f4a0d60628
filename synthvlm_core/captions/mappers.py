"""Mappers: captions whose words are mended before anything is measured, as in the recipe under the paper's own.

Belongs here: what each mapper does to a text, and raw captions read through them. Does not belong here: judging
captions (rules/). The paper does not say that it mapped anything, so none is on in `paper`.

A caption that a mapper changes is another caption: its id is the hash of its source and its new words, and the raw
caption's id stands beside it. Equal captions merge after that.

    fix_unicode             ftfy's mending of wrong encodings, HTML entities and control characters, in NFC
    normalize_punctuation   punctuation of other scripts as ASCII's

Both are py-data-juicer 1.6.1's operators of these names (ops/mapper/). A text that a mapper would leave without any
letter stays as it is.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core import hashing
from synthvlm_core.recipe.sections import Mapper

Read = Callable[[Sequence[str]], Iterator[pa.Table]]

# Data-Juicer's table as it is: that it makes a quotation mark of the full-width one is its own doing.
_PUNCTUATION: Final = str.maketrans(
    {
        "，": ",", "。": ".", "、": ",", "„": '"', "”": '"', "“": '"', "«": '"', "»": '"', "１": '"', "」": '"',
        "「": '"', "《": '"', "》": '"', "´": "'", "∶": ":", "：": ":", "？": "?", "！": "!", "（": "(", "）": ")",
        "；": ";", "–": "-", "—": " - ", "．": ". ", "～": "~", "’": "'", "…": "...", "━": "-", "〈": "<", "〉": ">",
        "【": "[", "】": "]", "％": "%", "►": "-",
    }
)  # fmt: skip
_UNTOUCHED: Final[dict[Mapper, str]] = {
    "fix_unicode": r"^[ -%'-~\t\n]*$",
    "normalize_punctuation": r"^[\x00-\x7f]*$",
}
"""What a mapper leaves as it is for sure, as nearly all captions are: printable ASCII without an entity."""


def mapped(texts: pa.Array, mappers: Sequence[Mapper]) -> pa.Array:
    """Texts as the mappers leave them, one after the other; strings of the same shape."""
    for mapper in mappers:
        touched = pc.invert(pc.match_substring_regex(texts, _UNTOUCHED[mapper]))
        change = _fixed if mapper == "fix_unicode" else _punctuated
        kept = [new if (new := change(old)).strip() else old for old in texts.filter(touched).to_pylist()]
        texts = pc.replace_with_mask(texts, touched, pa.array(kept, texts.type))
    return texts


def reader(read: Read, source: str, mappers: Sequence[Mapper]) -> Read:
    """Raw captions through mappers: `caption_id` and `text` are the mapped ones, and `raw_caption_id` is the raw
    caption's id where its words changed, else null."""

    def through(columns: Sequence[str]) -> Iterator[pa.Table]:
        others = [name for name in columns if name not in ("caption_id", "text", "raw_caption_id")]
        for table in read(["caption_id", "text", *others]):
            raw, ids = table["text"].combine_chunks(), table["caption_id"].combine_chunks()
            texts = mapped(raw, mappers)
            changed = pc.not_equal(texts, raw)
            found = {
                "text": texts,
                "caption_id": pc.replace_with_mask(ids, changed, hashing.caption_ids(source, texts.filter(changed))),
                "raw_caption_id": pc.if_else(changed, ids, pa.scalar(None, pa.string())),
            }
            yield pa.table({name: found[name] if name in found else table[name] for name in columns})

    return through


def _fixed(text: str) -> str:
    import ftfy

    return ftfy.fix_text(text, normalization="NFC")


def _punctuated(text: str) -> str:
    return text.translate(_PUNCTUATION)
