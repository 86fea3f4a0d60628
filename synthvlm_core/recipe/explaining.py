"""What is wrong with a recipe, in words: pydantic's problems as sentences with file, line and key.

Belongs here: wording. Does not belong here: where a value stands (places.py), reading files (documents.py).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from synthvlm_core.errors import meant
from synthvlm_core.parts.section import NAME_PATTERN
from synthvlm_core.recipe.documents import EXTENDS
from synthvlm_core.recipe.places import Document, location_of, place_of
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.recipe.types import TAGS, Place, annotation_at, has, room_of, section_at


@dataclass(frozen=True)
class Mistake:
    """One thing that keeps values from being a recipe."""

    place: str
    """'file:line'"""
    key: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.key}: {self.message}"


def explained(documents: tuple[Document, ...], values: Any, problems: Sequence[Any]) -> list[Mistake]:
    """pydantic's problems as what is wrong and what was given."""
    bad = [problem["loc"] for problem in problems]
    return [
        mistake
        for problem in problems
        # pydantic counts the items of a list without the bad ones, which are told already
        if not (problem["type"] == "too_short" and any(_below(location, problem["loc"]) for location in bad))
        for mistake in _explain(documents, values, problem)
    ]


def of_keys(documents: tuple[Document, ...], values: Any, told: Iterable[str]) -> list[Mistake]:
    """What begins with the key that it is about: 'selection.floor: what is wrong'."""
    found = []
    for words in told:
        key, _, message = words.partition(": ")
        found.append(Mistake(place_of(documents, values, location_of(key)), key, message))
    return found


def _explain(documents: tuple[Document, ...], values: Any, problem: Any) -> list[Mistake]:
    kind, given = problem["type"], problem["input"]
    message = problem["msg"].removeprefix("Value error, ")
    location = _without_tags(problem["loc"], values)
    if kind == "value_error" and not location:  # a check of the whole recipe tells all that it finds
        return of_keys(documents, values, message.splitlines())
    shown = "" if isinstance(given, dict | list) or kind == "missing" else f" (given: {given!r})"
    named = re.match(r"([a-z_]+(?:\.[a-z0-9_]+)*): ", message)
    if kind == "value_error" and named and _below(location_of(named[1]), location):
        # a check of a section says itself which key it is about
        location = location_of(named[1])
        message = message.removeprefix(named[0])
    elif kind == "extra_forbidden":
        section = section_at(values, location[:-1])
        keys = [*([EXTENDS] if section is Recipe else []), *(section.model_fields if section else [])]
        keys = [key for key in keys if key != "folder"]
        message, shown = f"unknown key; allowed here: {', '.join(keys)}{meant(str(location[-1]), keys)}", ""
    elif kind == "union_tag_invalid":
        tag = problem["ctx"]["discriminator"].strip("'")
        location = (*location, tag)
        message, shown = _allowed(problem["ctx"]["expected_tags"]), f" (given: {problem['ctx']['tag']!r})"
        shown += meant(problem["ctx"]["tag"], _words(problem["ctx"]["expected_tags"]))
    elif kind == "union_tag_not_found":
        location = (*location, problem["ctx"]["discriminator"].strip("'"))
        room = room_of(annotation_at(values, location[:-1]))
        message = f"missing; {_allowed(', '.join(room.parts) if room else '')}"
    elif kind == "too_short":
        least = problem["ctx"]["min_length"]
        message, shown = f"is empty; give at least {'one' if least == 1 else least}", ""
    elif kind == "string_pattern_mismatch" and problem["ctx"]["pattern"] == NAME_PATTERN:
        message = "a name is small letters a to z and digits, with single . _ - between them"
    elif kind == "literal_error":
        message = _allowed(problem["ctx"]["expected"])
        shown += meant(given, _words(problem["ctx"]["expected"]))
    key = ".".join(str(part) for part in location) or "recipe"
    return [Mistake(place_of(documents, values, location), key, f"{message}{shown}")]


def _allowed(words: str) -> str:
    return f"allowed here: {', '.join(_words(words))}"


def _words(told: str) -> list[str]:
    """What pydantic enumerates, without its quotes."""
    return [word.strip("' ") for word in re.split(r", | or ", told)]


def _without_tags(location: Place, values: Any) -> Place:
    """A location of pydantic's without the words that it inserts for the kind of a part."""
    found: list[int | str] = []
    here: Any = values
    for part in location:
        if has(here, part):
            here = here[part]
        elif here == part or (isinstance(here, dict) and part in [here.get(tag) for tag in TAGS]):
            continue
        else:
            here = None
        found.append(part)
    return tuple(found)


def _below(location: Place, other: Place) -> bool:
    return len(location) > len(other) and location[: len(other)] == other
