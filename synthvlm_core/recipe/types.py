"""What the types of the sections say of raw values: which class reads them, where there are several kinds.

Belongs here: walking from the recipe's type to a place in a document. Does not belong here: documents (documents.py),
words for people (explaining.py).
"""

from typing import Annotated, Any, get_args, get_origin

from synthvlm_core.parts.part import OneOf
from synthvlm_core.parts.section import Section
from synthvlm_core.recipe.sections import Recipe

Place = tuple[int | str, ...]
"""Keys and numbers that lead to a value."""
TAGS = ("kind", "rule", "score", "format", "benchmark", "by")
"""The keys that tell kinds of parts apart."""


def section_of(annotation: Any, value: Any) -> type[Section] | None:
    """The section class that reads a value, told by its tag where there are several."""
    if (room := room_of(annotation)) is not None:
        offered = room.parts
        tag = next(iter(offered.values())).tag
        word = value.get(tag) if isinstance(value, dict) else value
        return offered.get(word) if isinstance(word, str) else None
    plain = bare(annotation)
    if isinstance(plain, type) and issubclass(plain, Section):
        return plain
    if get_origin(plain) is dict:  # its keys are free, whatever its values are
        return None
    for argument in get_args(plain):
        if (found := section_of(argument, value)) is not None:
            return found
    return None


def annotation_of(section: type[Section], key: str) -> Any:
    """The type of a section's key with its markers, None if it has no such key."""
    field = section.model_fields.get(key)
    if field is None:
        return None
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def annotation_at(values: Any, location: Place) -> Any:
    """The type that a location has according to the sections above it, None if it has none."""
    annotation: Any = Recipe
    here: Any = values
    for part in location:
        if get_origin(bare(annotation)) is dict:
            annotation = get_args(bare(annotation))[1]
        elif isinstance(part, int):
            annotation = next(iter(get_args(bare(annotation))), None)
        else:
            section = section_of(annotation, here)
            annotation = annotation_of(section, part) if section else None
        here = here[part] if has(here, part) else None
    return annotation


def section_at(values: Any, location: Place) -> type[Section] | None:
    """The section class at a location, None if there is none."""
    here: Any = values
    for part in location:
        here = here[part] if has(here, part) else None
    return section_of(annotation_at(values, location), here)


def other_kind(base: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether two mappings are parts of different kinds."""
    return any(tag in own and tag in base and own[tag] != base[tag] for tag in TAGS)


def has(values: Any, part: int | str) -> bool:
    """Whether a raw value has something under a key or number."""
    if isinstance(values, list):
        return isinstance(part, int) and part < len(values)
    return isinstance(values, dict) and part in values


def bare(annotation: Any) -> Any:
    """A type without its markers."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def room_of(annotation: Any) -> OneOf | None:
    """The room that a type takes parts of."""
    markers = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((marker for marker in markers if isinstance(marker, OneOf)), None)
