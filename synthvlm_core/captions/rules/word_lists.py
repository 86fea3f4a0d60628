"""Lists of words: where they come from, how they are read, and what identifies that of flagged words.

Reading and identity of a list belong here; matching words in captions is in ``statistics``.
"""

import hashlib
import importlib.metadata
import importlib.resources
import json
import re
from dataclasses import dataclass
from typing import Final

from synthvlm_core import lfs, machine
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.locations import locate

BETTER_PROFANITY: Final = "better-profanity"

# The published lists have a few kilobytes; this much more is a wrong file, not a longer list.
MAX_FILE_BYTES: Final = 4 * 2**20

_COMMENT: Final = re.compile(r"(?:^|\s)#.*")


@dataclass(frozen=True, slots=True)
class WordList:
    """Lower-case single words, a name for where they came from, and a digest of the words alone."""

    words: frozenset[str]
    origin: str
    sha256: str


def load(spec: str, folder: str = "") -> WordList:
    """Read the list that ``spec`` names: ``better-profanity``, or a file as a recipe names it (parts/locations.py).

    A file is text (one word a line, ``#`` starts a comment) or, named ``*.json``, a JSON list of words or an
    object with such a list under ``en``, as Data-Juicer ships it. Captions are matched word by word in lower
    case, so words are lower-cased and entries of several words, which could never match, are left out. An
    entry that starts or ends with a special character (``a$$``) stays in the list and never matches, as in
    Data-Juicer. Raises Mendable, naming the file and what to do, where there is no usable list.
    """
    if spec == BETTER_PROFANITY:
        resource = importlib.resources.files("better_profanity").joinpath("profanity_wordlist.txt")
        entries = _lines(resource.read_text(encoding="utf-8"))
        origin = f"{BETTER_PROFANITY} {importlib.metadata.version(BETTER_PROFANITY)}"
    else:
        entries, origin = _entries(spec, folder), spec
    words = frozenset(entry.lower() for entry in map(str.strip, entries) if len(entry.split()) == 1)
    if not words:
        raise Mendable(f"word list {spec}: no single word in it; put one word on each line")
    try:
        digest = hashlib.sha256("\n".join(sorted(words)).encode()).hexdigest()
    except UnicodeEncodeError as error:
        raise Mendable(f"word list {spec}: a word holds half of a surrogate pair; remove it") from error
    return WordList(words=words, origin=origin, sha256=digest)


def phrases(spec: str, folder: str = "") -> tuple[str, ...]:
    """All entries of a file such as `load` reads, of one word or several: in lower case, sorted. Raises as `load`."""
    found = sorted({" ".join(entry.lower().split()) for entry in _entries(spec, folder)} - {""})
    if not found:
        raise Mendable(f"word list {spec}: nothing in it; put a word or phrase on each line")
    return tuple(found)


def _entries(spec: str, folder: str) -> list[str]:
    text = _read(spec, locate(spec, folder))
    return _json_entries(text, spec) if spec.lower().endswith(".json") else _lines(text)


def _read(spec: str, place: str) -> str:
    try:
        filesystem, path = machine.file_system(place)
        with machine.at(place), filesystem.open(path, "rb") as file:
            content: bytes = file.read(MAX_FILE_BYTES + 1)
    except Mendable as error:
        raise Mendable(f"word list {error}") from error
    except Exception as error:  # each object store's client has errors of its own
        raise Mendable(
            f"word list {spec}: {place} cannot be read ({error}); give {BETTER_PROFANITY!r} or a readable path or URL"
        ) from error
    if content.startswith(lfs.MARK):
        raise Mendable(f"word list {spec}: {place} {lfs.WHAT}; fetch it: {lfs.REMEDY}")
    if len(content) > MAX_FILE_BYTES:
        raise Mendable(f"word list {spec}: over {MAX_FILE_BYTES} bytes; give a list of words, one a line")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Mendable(f"word list {spec}: not UTF-8 ({error}); save it as UTF-8 text") from error


def _lines(text: str) -> list[str]:
    return [_COMMENT.sub("", line) for line in text.splitlines()]


def _json_entries(text: str, spec: str) -> list[str]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Mendable(f"word list {spec}: not JSON ({error}); mend it or name a text file .txt") from error
    entries = content.get("en") if isinstance(content, dict) else content
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise Mendable(f'word list {spec}: needs a list of strings, or {{"en": [list of strings]}}')
    return entries
