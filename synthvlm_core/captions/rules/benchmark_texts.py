"""Texts of benchmarks as files give them, and the n-grams that a caption must not share with them.

Belongs here: reading such files and the look-up of n-grams. Does not belong here: the rule (decontamination.py).

A text is compared by its words: runs of letters and digits in lower case. Of a text of at least `ngram` words every run
of `ngram` words counts; a shorter one counts as a whole, if it has at least `shortest` words.
"""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core import lfs, machine
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.locations import locate

SUFFIXES: Final = (".txt", ".jsonl", ".csv", ".tsv", ".parquet")
MAX_TEXT: Final = 1_000_000
"""Characters of a text that are looked at."""
MAX_NGRAMS: Final = 5_000_000

_WORD = re.compile(r"[^\W_]+")


def words(text: str) -> list[str]:
    """The words of a text."""
    return _WORD.findall(text[:MAX_TEXT].lower())


@dataclass(frozen=True)
class Place:
    """Where a text stands: the file as the recipe names it, and its row, counted from 0."""

    file: str
    row: int


class Index:
    """The n-grams of benchmarks' texts, each with the first place where it stands."""

    def __init__(self, ngram: int, shortest: int) -> None:
        self._ngram, self._shortest = ngram, shortest
        self._places: dict[int, dict[str, Place]] = {}

    def add(self, text: str, place: Place) -> None:
        """Enter a text. Raises Mendable if there are too many."""
        found = words(text)
        size = min(self._ngram, len(found))
        if size < self._shortest:
            return
        of_size = self._places.setdefault(size, {})
        for first in range(len(found) - size + 1):
            of_size.setdefault(" ".join(found[first : first + size]), place)
        if sum(map(len, self._places.values())) > MAX_NGRAMS:
            raise Mendable(f"{place.file}: more than {MAX_NGRAMS:,} n-grams with what stands before it")

    def shared(self, text: str) -> list[tuple[str, Place]]:
        """The n-grams that a text shares with the benchmarks, in its order, with where each stands."""
        found = words(text)
        shared = []
        for size, of_size in sorted(self._places.items(), reverse=True):
            for first in range(len(found) - size + 1):
                gram = " ".join(found[first : first + size])
                if (place := of_size.get(gram)) is not None:
                    shared.append((gram, place))
        return shared


def index(files: Sequence[str], folder: str, column: str, ngram: int, shortest: int) -> Index:
    """The n-grams of all texts of some files. Raises Mendable, naming file and row, if one cannot be read."""
    found = Index(ngram, shortest)
    for name in files:
        for row, text in enumerate(texts(name, folder, column)):
            found.add(text, Place(name, row))
    return found


def digest(files: Sequence[str], folder: str) -> str:
    """Hash of the files' bytes in their order. Raises Mendable if one is not there."""
    hasher = hashlib.sha256()
    for name in files:
        with _path(name, folder).open("rb") as file:
            hasher.update(hashlib.file_digest(file, "sha256").digest())
    return hasher.hexdigest()


def texts(name: str, folder: str, column: str) -> Iterator[str]:
    """The texts of a file: lines of .txt, else the values of a column.

    Raises:
        Mendable: naming file, row and remedy.
    """
    path = _path(name, folder)
    try:
        with machine.at(path):
            yield from _READERS[path.suffix](path, column)
    except KeyError as error:
        raise Mendable(f"{name}: no column {column!r}; name one that is there by `column`") from error
    except (UnicodeDecodeError, json.JSONDecodeError, csv.Error, pa.ArrowException, RecursionError) as error:
        raise Mendable(f"{name}: cannot be read: {str(error)[:300]!a}; mend it or name another file") from error


def _path(name: str, folder: str) -> Path:
    path = Path(locate(name, folder))
    if "://" in name or not path.is_file():
        raise Mendable(f"{name}: no such file on this machine (looked at {path})")
    if (pointer := lfs.told([path])) is not None:
        raise Mendable(pointer)
    if path.suffix not in SUFFIXES:
        raise Mendable(f"{name}: must be one of {', '.join(SUFFIXES)}")
    return path


def _lines(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig") as file:
        for line in file:
            yield line.rstrip("\n")


def _json_lines(path: Path, column: str) -> Iterator[str]:
    for number, line in enumerate(_lines(path, column)):
        row: Any = json.loads(line) if line.strip() else {column: ""}
        if not isinstance(row, dict) or not isinstance(row[column], str):
            raise Mendable(f"{path}: row {number}: {column!r} is no text")
        yield row[column]


def _csv(path: Path, column: str) -> Iterator[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t" if path.suffix == ".tsv" else ","):
            yield row[column] or ""


def _parquet(path: Path, column: str) -> Iterator[str]:
    file = pq.ParquetFile(path)
    if column not in file.schema_arrow.names:
        raise KeyError(column)
    for batch in file.iter_batches(columns=[column]):
        yield from (text or "" for text in batch[0].cast(pa.string()).to_pylist())


_READERS: Final = {".txt": _lines, ".jsonl": _json_lines, ".csv": _csv, ".tsv": _csv, ".parquet": _parquet}
