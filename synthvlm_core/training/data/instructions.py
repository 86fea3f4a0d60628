"""Conversations of an instruction mix in LLaVA's form.

Belongs here: the form of a row, reading rows from a working copy. Does not belong here: whether a whole mix can be
trained on (mixes.py), tokens (words.py), pictures (pictures.py), writing a mix.

Texts do not lie in memory: they are copied into a file of one line each. A working copy counts if it is of the mix as
it is now and has the bytes that were written; else it is made again.
"""

import hashlib
import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from synthvlm_core import bounded_json
from synthvlm_core.bounded_json import BadJson
from synthvlm_core.models.vlm import IMAGE
from synthvlm_core.training.data.order import grouped_by_modality_and_length
from synthvlm_core.training.data.pictures import Pictures, stays_inside
from synthvlm_core.training.data.rows import DataError, Example, Numbers
from synthvlm_core.training.data.words import Words

log = logging.getLogger(__name__)

Turns = list[tuple[str, str]]
"""Questions with their answers."""
MAX_ROW_CHARACTERS = 4_000_000
"""Of one row of the mix; LLaVA's longest have some tens of thousands."""
_VERSION = 1
"""Of the working copy's form."""


class Instructions:
    """Conversations of a JSON list, checked once and then read line by line from a working copy.

    Args:
        path: the JSON file. Its pictures lie in `<name of the file>.zip` beside it, else below the file's own folder.
        work: folder for the working copy; one that is unfinished, damaged or of another mix is made again.
        grouped: whether `order` puts pictured rows and text-only rows, and rows of about equal length, together.

    Raises:
        DataError: naming the first row that is not as described at `checked_turns`.
    """

    def __init__(self, path: Path, words: Words, *, work: Path, grouped: bool = False) -> None:
        self._path, self._words, self._grouped = path, words, grouped
        self._pictures = Pictures(path.with_suffix(".zip"), path.parent)
        work.mkdir(parents=True, exist_ok=True)
        self._lines = work / "instructions.jsonl"
        self._index = _working_copy(path, self._lines, self._pictures)
        if not len(self._index):
            raise DataError(f"{path}: an empty list; there is nothing to train on")

    def __len__(self) -> int:
        return len(self._index)

    @property
    def text_only(self) -> int:
        """How many rows have no picture."""
        return int((self._index[:, 1] < 0).sum())

    def __getitem__(self, number: int) -> Example:
        with self._lines.open("rb") as lines:
            lines.seek(int(self._index[number, 0]))
            image, turns = json.loads(lines.readline())
        ids, labels = self._words.conversation(turns, pictured=image is not None)
        picture = None if image is None else self._pictures.open(image, f"{self._path}, row {number}")
        return Example(ids, labels, picture)

    def order(self, rng: np.random.Generator, group: int) -> Numbers:
        """Rows at random, or in LLaVA's groups where asked for."""
        if not self._grouped:
            return rng.permutation(len(self))
        return grouped_by_modality_and_length(self._index[:, 1], group, rng)


def checked_turns(row: Any, place: str, pictures: Pictures) -> tuple[str | None, Turns]:
    """Picture's name, or None, and the (question, answer) turns of one row of a mix.

    A row is {"id": any, "image": relative path (left out in a row of text alone), "conversations": [{"from": "human",
    "value": text}, {"from": "gpt", "value": text}, …]}, human and gpt in turn. With an image, the first question holds
    `<image>` once and nothing else does; it is moved to the front, as LLaVA does. Without one it is text like any
    other. An opening by gpt and a last question without an answer are left out, as LLaVA leaves them out.

    Raises:
        DataError: naming `place`, what is wrong and what to do.
    """
    if not isinstance(row, dict) or not isinstance(row.get("conversations"), list):
        raise DataError(f"{place}: not an object with a list 'conversations'; see LLaVA's instruction JSON")
    said = row["conversations"]
    for turn in said:
        if not isinstance(turn, dict) or not bounded_json.is_text(turn.get("value")) or "from" not in turn:
            raise DataError(f"{place}: a turn without text 'from' and 'value'; every turn needs both")
        if turn["from"] not in ("human", "gpt"):
            raise DataError(f"{place}: a turn from {str(turn['from'])[:40]!r}; rename it to 'human' or 'gpt'")
    if said and said[0]["from"] == "gpt":
        said = said[1:]
    for at, turn in enumerate(said):
        if turn["from"] != ("human", "gpt")[at % 2]:
            raise DataError(f"{place}: two turns from {turn['from']!r} in a row; join them or remove one")
    turns = [(said[at]["value"], said[at + 1]["value"]) for at in range(0, len(said) - 1, 2)]
    if not turns:
        raise DataError(f"{place}: no question with an answer; remove the row")
    image = row.get("image")
    if image is None:
        return None, turns
    if image == "":
        raise DataError(f"{place}: 'image' is empty; name a picture, or leave 'image' out of a row of text alone")
    if not stays_inside(image):
        raise DataError(
            f"{place}: image {str(image)[:200]!r} is no relative path below {pictures.place}; correct it or remove "
            "the row"
        )
    markers = [sum(turn[side].count(IMAGE) for turn in turns) for side in (0, 1)]
    if markers != [1, 0] or IMAGE not in turns[0][0]:
        raise DataError(
            f"{place}: {IMAGE} must stand once, in the first question; it stands {sum(markers)} times. "
            f"Correct the row, or remove its 'image'"
        )
    if image not in pictures:
        raise DataError(f"{place}: no picture {image[:200]!r} in {pictures.place}; add it or remove the row")
    first, answer = turns[0]
    return image, [(first.replace(IMAGE, "").strip(), answer), *turns[1:]]


def _checked_rows(path: Path, pictures: Pictures) -> Iterator[tuple[str | None, Turns]]:
    """Rows of the JSON list, one at a time."""
    number = -1
    with path.open(encoding="utf-8-sig") as file:
        try:
            for number, row in enumerate(bounded_json.items(file, MAX_ROW_CHARACTERS)):
                yield checked_turns(row, f"{path}, row {number}", pictures)
        except BadJson as error:
            raise DataError(f"{path}, after row {number}: {error}; it must be one JSON list of rows") from error


def _working_copy(path: Path, lines: Path, pictures: Pictures) -> Numbers:
    """The index of a working copy: of every row its place in bytes and its words, negative without a picture.

    `instructions.json`, put last, says of which mix the copy is and what its bytes are.
    """
    index, told = lines.with_suffix(".npy"), lines.with_suffix(".json")
    mix = _digest(path)
    if told.is_file() and _vouched(told) == _voucher(mix, lines, index):
        found: Numbers = np.load(index)
        return found
    if told.exists():
        log.warning("%s is damaged or of another mix than %s, and is made again", lines, path)
    for old in (told, lines, index):
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        old.unlink(missing_ok=True)
    _write(lines, index, _checked_rows(path, pictures))
    temporary = told.with_suffix(".tmp")
    temporary.write_text(json.dumps(_voucher(mix, lines, index)))
    temporary.replace(told)
    written: Numbers = np.load(index)
    return written


def _voucher(mix: str, lines: Path, index: Path) -> dict[str, Any]:
    return {"version": _VERSION, "mix": mix, "lines": _digest(lines), "index": _digest(index)}


def _vouched(told: Path) -> Any:
    try:
        with told.open("rb") as file:
            return bounded_json.loads(file.read(1000))
    except BadJson:
        return None


def _digest(path: Path) -> str:
    """SHA-256 of a file, "" where there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write(lines: Path, index: Path, rows: Iterator[tuple[str | None, Turns]]) -> None:
    """One line per row, and beside it the index."""
    found: list[tuple[int, int]] = []
    with lines.open("wb") as file:
        for image, turns in rows:
            words = max(1, sum(len(text.split()) for turn in turns for text in turn))
            found.append((file.tell(), words if image is not None else -words))
            file.write(json.dumps([image, turns]).encode() + b"\n")
    np.save(index, np.array(found, dtype=np.int64).reshape(-1, 2))
