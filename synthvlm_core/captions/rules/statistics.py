"""Text statistics of captions, equal to Data-Juicer 1.6.1's five text filters.

What one text measures belongs here: the ratios, the form of the text they are taken on, and the character
classes they rest on. Thresholds and verdicts do not (the rules hold them), nor the word list
(``word_lists``), nor the compiled loops (``_kernels``).
"""

import functools
import re
import secrets
import string
from typing import Final, Literal, NamedTuple

import emoji
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from synthvlm_core.captions.rules import _kernels
from synthvlm_core.captions.rules.wrapping import WRAPPED_PREFIX, WRAPPED_SUFFIX

COLUMNS: Final = (
    "alnum_ratio",
    "char_rep_ratio",
    "flagged_words_ratio",
    "special_char_ratio",
    "word_rep_ratio",
)

# A caption is a few hundred bytes. The bound keeps one absurd row from taking gigabytes of working memory.
MAX_TEXT_BYTES: Final = 4 * 2**20

# OTHER_SPECIAL_CHARACTERS of Data-Juicer 1.6.1 (ops/common/special_characters.py, Apache-2.0), less what is
# in string.punctuation, digits and whitespace anyway. As numbers, because the list holds control, zero-width
# and combining characters that an editor may drop or normalise.
_OTHER_SPECIAL: Final = """
0081-0085 0091-0093 0095-0099 009C-009D 00A1-00AB 00AD-00B4 00B7-00BF 00D7 00F7-00F8 0131 026A 02BA-02BC
02C8 02CC 02D0 02D8 02DA 02DC 03C0 0413 060C 0647 066A 066C 06E9 093E 0940 0947 094D 097D 09BE 0E51
2002-2003 2005 2008-200B 2010-2011 2013-2016 2018-201A 201C-2020 2022 2024 2026 202F-2030 2032-2033
2039-203A 203F 2043-2044 20A8 20AA 20AC 2103 2122 2190-2193 21D3 2206 2208 2212 221A 221E-221F 223C 2248
2256 2264-2265 2295 22C5 2550 25A0 25AC 25B2 25B4 25B7 25BA-25BC 25C6 25CF 25E6 2605-2606 261B 263B 2661
2665 266B 2713 2726 2731 2756 27A4 27A9 2800 3000-3002 300A-300D 3010-3011 309C 30B7 30C3-30C4 30F3
30FB-30FC 4E00 4E0A 58EB FD3E-FD3F FEFF FF01 FF08-FF09 FF0C FF0E FF11 FF1A-FF1B FF1F FF3E FF5E FFFC-FFFD
"""

_CODE_POINTS: Final = 0x110000
_SURROGATES: Final = (0xD800, 0xE000)

# New for every process: hash keys nobody can know, so no text can be made to collide. Results do not depend
# on it.
_KEY_SEED: Final = secrets.randbits(128)


class _FlaggedTable(NamedTuple):
    """The flagged words as the look-up table that ``_kernels.row_statistics`` reads."""

    points: npt.NDArray[np.uint32]
    starts: npt.NDArray[np.int32]
    stops: npt.NDArray[np.int32]
    hashes: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int32]
    bits: int
    seen: npt.NDArray[np.uint64]


def text_statistics(
    texts: pa.Array | pa.ChunkedArray,
    *,
    form: Literal["wrapped", "bare"],
    char_rep_len: int = 10,
    word_rep_len: int = 10,
    flagged_words: frozenset[str],
) -> pa.Table:
    """Measure every text: one row each, in order, with the five ratios in [0, 1] of ``COLUMNS`` as float64.

    ``form="wrapped"`` measures ``<image>\\n{text} <|__dj__eoc|>``, which is what the paper's filters saw;
    ``"bare"`` measures the text alone. A ratio of nothing (no characters, no words, too short for one n-gram)
    is 0.0. Words are split at space, newline and tab, lower-cased and stripped of special characters, so a
    flagged word matches only if it has that shape. Raises ValueError for nulls, a type other than string,
    invalid UTF-8, or a text over ``MAX_TEXT_BYTES``. Holds no GIL while it counts.
    """
    if form not in ("wrapped", "bare"):
        raise ValueError(f"form is {form!r}; it must be 'wrapped' or 'bare'")
    for name, size in (("char_rep_len", char_rep_len), ("word_rep_len", word_rep_len)):
        if not 1 <= size <= MAX_TEXT_BYTES:
            raise ValueError(f"{name} is {size}; it must be between 1 and {MAX_TEXT_BYTES}")
    chunks = [_checked(chunk) for chunk in (texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts])]
    wrapper = (WRAPPED_PREFIX, WRAPPED_SUFFIX) if form == "wrapped" else ("", "")
    prefix, suffix = (np.frombuffer(part.encode(), np.uint8) for part in wrapper)
    flagged = _flagged_table(flagged_words)
    table, lower = _character_tables()
    out = np.empty((len(COLUMNS), sum(map(len, chunks))), np.float64)
    done = 0
    for chunk in chunks:
        if len(chunk) == 0:
            continue
        data, offsets = _utf8(chunk)
        capacity = int(np.diff(offsets).max()) + len(prefix) + len(suffix)
        _kernels.row_statistics(
            data, offsets, prefix, suffix, table, lower, _keys(max(capacity, char_rep_len, word_rep_len)),
            char_rep_len, word_rep_len, capacity, *flagged, out, done,
        )  # fmt: skip
        done += len(chunk)
    return pa.table(dict(zip(COLUMNS, out, strict=True)))


def words_of(text: str) -> list[str]:
    """The words of a text as `text_statistics` counts them, in lower case and stripped."""
    stripped = (word.lower().strip(_special_characters()) for word in re.split("[ \n\t]", text))
    return [word for word in stripped if word]


@functools.cache
def _special_characters() -> str:
    return "".join(map(chr, special_code_points()))


def special_code_points() -> frozenset[int]:
    """The characters Data-Juicer calls special; its multi-character emoji can never equal one character."""
    points = {ord(c) for c in string.punctuation + string.digits + string.whitespace}
    for item in _OTHER_SPECIAL.split():
        first, _, last = item.partition("-")
        points.update(range(int(first, 16), int(last or first, 16) + 1))
    points.update(ord(sequence) for sequence in emoji.EMOJI_DATA if len(sequence) == 1)
    return frozenset(points)


def _checked(chunk: pa.Array) -> pa.LargeStringArray:
    kind = chunk.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)):
        raise ValueError(f"texts are of type {kind}; cast them to string first")
    if chunk.null_count:
        row = chunk.is_null().index(True).as_py()
        raise ValueError(f"{chunk.null_count} of the texts are null, the first at row {row} of its chunk; drop them")
    try:
        chunk.validate(full=True)
    except pa.ArrowInvalid as error:
        raise ValueError(f"the texts are not valid UTF-8: {error}") from error
    return chunk.cast(pa.large_string())


def _utf8(chunk: pa.LargeStringArray) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """The bytes and the row offsets behind a chunk, without copying."""
    _, offsets_buffer, data_buffer = chunk.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, len(chunk) + 1, chunk.offset * 8)
    longest = int(np.diff(offsets).max())
    if longest > MAX_TEXT_BYTES:
        raise ValueError(f"a text has {longest} bytes; {MAX_TEXT_BYTES} is the most: drop or shorten it first")
    data = np.frombuffer(data_buffer or b"", np.uint8)
    # Arrow's buffers come writable or not, by origin; numba would compile the kernels once for each mixture.
    data.flags.writeable = offsets.flags.writeable = False
    return data, offsets


@functools.cache
def _character_tables() -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint32]]:
    """Class flags and lower case of every code point, asked of this Python's str so that they agree."""
    points = np.concatenate([np.arange(_SURROGATES[0]), np.arange(_SURROGATES[1], _CODE_POINTS)])
    text = points.astype("<u4").tobytes().decode("utf-32-le")
    table = np.zeros(_CODE_POINTS, np.uint8)
    table[points] |= np.fromiter(map(str.isalnum, text), bool, len(text)) * _kernels.ALNUM
    table[sorted(special_code_points())] |= _kernels.SPECIAL
    table[[ord(c) for c in " \n\t"]] |= _kernels.SEPARATOR

    # The kernels lower İ (it becomes two characters) and Σ (it looks at its neighbours) on their own.
    plain = text.replace("\u0130", "")
    lower = np.arange(_CODE_POINTS, dtype=np.uint32)
    lowered = np.frombuffer(plain.replace("\u03a3", "\u03c3").lower().encode("utf-32-le"), "<u4")
    kept = np.frombuffer(plain.encode("utf-32-le"), "<u4")
    if len(lowered) != len(kept):
        raise RuntimeError("this Python lower-cases another character than U+0130 to several; extend _kernels")
    lower[kept] = lowered

    # Python hides the two Unicode properties behind the final sigma, but its str.lower gives them away.
    cased = _sigma_is_final(plain, "")
    table[kept[cased]] |= _kernels.CASED
    table[kept[_sigma_is_final(plain, "A") & ~cased]] |= _kernels.CASE_IGNORABLE
    table[0x130] |= _kernels.CASED
    return table, lower


def _sigma_is_final(text: str, before: str) -> npt.NDArray[np.bool_]:
    """For every character c of ``text``: whether Σ takes its final form in the word ``before + c + Σ``."""
    words = np.empty((len(text), len(before) + 3), "<u4")
    words[:] = [ord(c) for c in f" {before}?\u03a3"]
    words[:, -2] = np.frombuffer(text.encode("utf-32-le"), "<u4")
    lowered = words.tobytes().decode("utf-32-le").lower()
    last = np.frombuffer(lowered.encode("utf-32-le"), np.uint32).reshape(words.shape)[:, -1]
    return np.equal(last, 0x3C2)


@functools.lru_cache(maxsize=8)
def _flagged_table(words: frozenset[str]) -> _FlaggedTable:
    ordered = sorted(word for word in words if word)
    try:
        points = np.frombuffer("".join(ordered).encode("utf-32-le"), "<u4")
    except UnicodeEncodeError as error:
        raise ValueError("a flagged word holds a lone surrogate, which no text can hold: remove it") from error
    stops = np.cumsum([len(word) for word in ordered], dtype=np.int32)
    starts = np.concatenate([np.zeros(1, np.int32), stops[:-1]])[: len(ordered)]
    hashes = np.empty(len(ordered), np.uint64)
    _kernels.hash_words(points, starts, stops, len(ordered), _keys(max(map(len, ordered), default=1)), hashes)
    bits = max(1, (2 * len(ordered)).bit_length())
    slots = np.empty(1 << bits, np.int32)
    ids = np.empty(len(ordered), np.uint32)
    _kernels.number_words(points, starts, stops, hashes, len(ordered), bits, slots, ids)
    seen = np.zeros(1 << (_kernels.FLAGGED_SEEN_BITS - 6), np.uint64)
    places = hashes >> np.uint64(64 - _kernels.FLAGGED_SEEN_BITS)
    np.bitwise_or.at(seen, places >> np.uint64(6), np.uint64(1) << (places & np.uint64(63)))
    return _FlaggedTable(points, starts, stops, hashes, slots, bits, seen)


def _keys(count: int) -> npt.NDArray[np.uint64]:
    """At least ``count`` hash keys; any two answers agree as far as both go."""
    return _key_block(max(10, (count - 1).bit_length()))


@functools.lru_cache(maxsize=4)
def _key_block(bits: int) -> npt.NDArray[np.uint64]:
    return np.random.PCG64(_KEY_SEED).random_raw(1 << bits)
