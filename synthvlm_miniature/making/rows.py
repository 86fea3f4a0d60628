"""The rows of the caption files: clean captions, and a share of realistic dirt whose truth is known.

Belongs here: which text each row of each source holds, and what is wrong with it. Does not belong here: clean captions
(synthvlm_miniature.world), the formats the rows are written in (source_files.py), rules that reject dirt.

The truth about each row follows from (source, seed, rows), so no file carries it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from synthvlm_miniature.world.captions import caption
from synthvlm_miniature.world.scenes import Scene, sample_scene
from synthvlm_miniature.world.vague import vague_caption

Source: TypeAlias = Literal["laion", "cc", "sbu", "datacomp"]
SOURCES: tuple[Source, ...] = ("laion", "cc", "sbu", "datacomp")

SEED = 20241
ROWS = 1000

DIRT: dict[str, float] = {
    "duplicate": 0.025,
    "markup": 0.015,
    "repetition": 0.015,
    "symbols": 0.015,
    "flagged": 0.015,
    "empty": 0.010,
    "encoding": 0.015,
    "columns": 0.010,
    "vague": 0.025,
    "shuffled": 0.020,
    "long": 0.008,
}
"""Share of rows of each kind of dirt; `columns` (a wrong number of them) only in the TSV."""

_FLAGGED = ("damn", "crap", "stupid", "ugly", "hell", "fart")
_ADVERTS = ("buy now ", "click here ", "sale sale ", "free shipping ", "best price ")
_SYMBOLS = "!!?#*$%&@~^=+<>|/\\_-:;.,0123456789★→•"
_FOREIGN = ("café", "naïve", "à la carte", "Müller", "déjà vu", "señor", "garçon", "Zürich")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One row as written. `truth` is "clean" or a kind of `DIRT`; `scene` is what it pictures, or None.

    `text` is bytes where it is no valid UTF-8. `twin` is the row that a duplicate repeats.
    """

    number: int
    text: str | bytes
    truth: str
    scene: Scene | None
    twin: int | None = None


def source_rows(source: Source, seed: int = SEED, rows: int = ROWS) -> Iterator[SourceRow]:
    """The rows of one source file, in file order, with their truth."""
    made: list[SourceRow] = []
    for number in range(rows):
        rng = np.random.default_rng([seed, SOURCES.index(source), number])
        row = _row(source, number, rng, made)
        made.append(row)
        yield row


def texts_by_truth(truths: Sequence[str], seed: int, rows: int) -> dict[str, list[str]]:
    """The texts of the rows of all four sources that have one of the given truths, by truth."""
    found: dict[str, list[str]] = {truth: [] for truth in truths}
    for source in SOURCES:
        for row in source_rows(source, seed, rows):
            if row.truth in found and isinstance(row.text, str):
                found[row.truth].append(row.text)
    return found


def shuffled(text: str, rng: np.random.Generator) -> str:
    """The words in random order."""
    words = text.split()
    return " ".join(words[int(i)] for i in rng.permutation(len(words)))


def _row(source: Source, number: int, rng: np.random.Generator, made: list[SourceRow]) -> SourceRow:
    scene = sample_scene(rng)
    clean = caption(scene, rng, source)
    kind = _kind(source, float(rng.random()))
    if kind == "duplicate":
        candidates = [row for row in made if row.truth == "clean"]
        if candidates:
            twin = candidates[int(rng.integers(len(candidates)))]
            return SourceRow(number, twin.text, "duplicate", twin.scene, twin.number)
        kind = "clean"
    match kind:
        case "markup":
            return SourceRow(number, _markup(clean, rng), kind, scene)
        case "repetition":
            advert = _ADVERTS[int(rng.integers(len(_ADVERTS)))]
            return SourceRow(number, f"{clean} {advert * int(rng.integers(6, 14))}".strip(), kind, scene)
        case "symbols":
            soup = "".join(_SYMBOLS[int(i)] for i in rng.integers(len(_SYMBOLS), size=int(rng.integers(60, 90))))
            return SourceRow(number, f"{soup[:30]} {clean} {soup[30:]}", kind, scene)
        case "flagged":
            words = clean.split(" ")
            words.insert(1 + int(rng.integers(len(words) - 1)), _FLAGGED[int(rng.integers(len(_FLAGGED)))])
            return SourceRow(number, " ".join(words), kind, scene)
        case "empty":
            return SourceRow(number, ("", " ", "")[int(rng.integers(3))], kind, None)
        case "encoding":
            text = f"{_FOREIGN[int(rng.integers(len(_FOREIGN)))]}: {clean}"
            broken = text.encode("latin-1") if source == "cc" else text.encode().decode("latin-1")
            return SourceRow(number, broken, kind, scene)
        case "vague":
            return SourceRow(number, vague_caption(rng), kind, None)
        case "shuffled":
            return SourceRow(number, shuffled(clean, rng), kind, None)
        case "long":
            parts = [caption(sample_scene(rng), rng, source) for _ in range(40)]
            return SourceRow(number, ". ".join(parts), kind, None)
    return SourceRow(number, clean, kind, scene)


def _kind(source: Source, share: float) -> str:
    """The kind of row that a number in [0, 1) stands for."""
    for kind, part in DIRT.items():
        if kind == "columns" and source != "cc":
            continue
        share -= part
        if share < 0:
            return kind
    return "clean"


def _markup(text: str, rng: np.random.Generator) -> str:
    forms = (
        "<p>{}</p>",
        '<a href="https://example.com/shop?id=7&amp;x=1"><b>{}</b></a><br/>',
        "{} &nbsp;&amp;quot; &lt;3",
        '<img alt="{}" width="640" height="480" class="lazy thumb"/>',
        "<div class='title'>{}</div> &raquo; &copy;&nbsp;2021",
    )
    return forms[int(rng.integers(len(forms)))].format(text)
