"""Whether an instruction mix can be trained on, found out whole before a step is trained: every row, every picture.

Belongs here: all that is wrong with a mix at once, and remembering that nothing is. Does not belong here: the form of
a row (instructions.py), reading a picture (pictures.py).

    checked/instructions/<key>.json    a mix with these rows and pictures was looked at whole and is sound

The key is over the bytes of the JSON and over size and checksum (in an archive) or size and time of change (in a
folder) of every picture that it names. So rows are read each time, and pictures decoded once.
"""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from synthvlm_core import bounded_json, hashing
from synthvlm_core.bounded_json import BadJson
from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.documents import Count, document
from synthvlm_core.store.objects import DamagedObject, Store
from synthvlm_core.training.data.instructions import MAX_ROW_CHARACTERS, checked_turns
from synthvlm_core.training.data.pictures import Pictures
from synthvlm_core.training.data.rows import TOLD, DataError, together

_VERSION = 1
"""Raised when rows or pictures are refused that were not before."""
_REPORTED = 1000
"""Rows or pictures between two reports."""


@document
class Sound(TypedDict):
    """What was looked at."""

    rows: Count
    pictures: Count


class Mix:
    """A LLaVA instruction JSON and its pictures, read whole.

    Attributes:
        rows: how many there are, as far as the file can be read.
        pictures: of every picture that a sound row names, the number of the first such row.
        wrong: of rows that cannot be used the number, and what is wrong; the first `TOLD` in words, the others as None.

    Raises:
        DataError: if the archive of its pictures is none.
    """

    def __init__(self, path: Path, progress: Progress = silent) -> None:
        self.path, self.rows = path, 0
        self.pictures: dict[str, int] = {}
        self.wrong: dict[int, str | None] = {}
        self._files = Pictures(path.with_suffix(".zip"), path.parent)
        with path.open(encoding="utf-8-sig") as file:
            try:
                for row in bounded_json.items(file, MAX_ROW_CHARACTERS):
                    if self.rows % _REPORTED == 0:
                        progress(f"instructions: {self.rows:,} rows read", 0, 1)
                    self._take(row)
                    self.rows += 1
            except BadJson as error:
                self._found(self.rows, f"{error}; it must be one JSON list of rows")
        if not self.rows and not self.wrong:
            self._found(0, "an empty list; there is nothing to train on")

    @property
    def key(self) -> str:
        """Hash of rows and pictures as they are now."""
        with self.path.open("rb") as file:
            rows = hashlib.file_digest(file, "sha256").hexdigest()
        return hashing.of_json([_VERSION, rows, [[name, self._files.state(name)] for name in sorted(self.pictures)]])

    def decode(self, names: Iterable[str], threads: int, progress: Progress = silent) -> None:
        """Find out which of some pictures cannot be read.

        Args:
            progress: called with ("instructions: pictures", looked at, all that the mix names).
        """

        def look(name: str) -> tuple[int, str] | None:
            row = self.pictures[name]
            try:
                self._files.open(name, self._place(row))
            except DataError as error:
                return row, str(error)
            return None

        waiting, done = iter(names), 0
        with ThreadPoolExecutor(threads) as pool:
            while some := list(islice(waiting, _REPORTED)):
                progress("instructions: pictures", done, len(self.pictures))
                for found in pool.map(look, some):
                    if found is not None:
                        self._found(*found)
                done += len(some)

    def sample(self, n: int) -> list[str]:
        """At most `n` of the pictures, evenly from all of the mix."""
        names = list(self.pictures)
        return [names[at] for at in np.linspace(0, len(names) - 1, min(n, len(names)), dtype=int)] if names else []

    def told(self) -> str | None:
        """All that is wrong, in words; None if nothing is."""
        return together(self.path, [self.wrong[row] for row in sorted(self.wrong)])

    def _take(self, row: Any) -> None:
        try:
            picture, _ = checked_turns(row, self._place(self.rows), self._files)
        except DataError as error:
            self._found(self.rows, str(error))
        else:
            if picture is not None:
                self.pictures.setdefault(picture, self.rows)

    def _found(self, row: int, words: str) -> None:
        place = f"{self._place(row)}: "
        self.wrong[row] = f"{place}{words.removeprefix(place)}" if len(self.wrong) < TOLD else None

    def _place(self, row: int) -> str:
        return f"{self.path}, row {row}"


def refuse_unsound(path: Path, store: Store, *, threads: int, progress: Progress = silent) -> None:
    """Do nothing if every row of a mix can be trained on; pictures that were decoded before are not decoded again.

    Args:
        threads: how many pictures are decoded at once.

    Raises:
        DataError: naming all rows that cannot be used, with what is wrong and what to do.
    """
    mix = Mix(path, progress)
    if not mix.wrong:
        kept = store.path("checked", "instructions", f"{mix.key}.json")
        try:
            if store.get_json(kept, Sound) is not None:
                return
        except DamagedObject:  # looked at again
            pass
        mix.decode(mix.pictures, threads, progress)
        if not mix.wrong:
            store.put_json(kept, {"rows": mix.rows, "pictures": len(mix.pictures)})
            return
    raise DataError(str(mix.told()))
