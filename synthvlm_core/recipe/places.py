"""Where a value stands in the files of a recipe.

Belongs here: a file with its values and lines, 'file:line' of a key. Does not belong here: reading files
(documents.py).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from synthvlm_core.recipe.types import TAGS, Place, other_kind, section_at


@dataclass(frozen=True)
class Document:
    """One YAML file: its values and where in it they stand."""

    path: Path
    node: yaml.Node | None
    values: dict[str, Any]


def location_of(key: str) -> Place:
    """A dotted key as a location."""
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def place_of(documents: tuple[Document, ...], values: Any, location: Place) -> str:
    """'file:line' of a location, or of the deepest part of it that stands in a file.

    Of several files that give a value the most particular one counts, and what it replaces does not.
    """
    found: list[tuple[Document, yaml.Node | None]] = [(document, document.node) for document in documents]
    document, line = documents[0], 0
    for depth, part in enumerate(location):
        merged = section_at(values, location[:depth]) is not None
        children = [(by, *child) for by, node in _in_force(found, merged) if (child := _child(node, part))]
        if not children:
            break
        document, line = children[0][:2]
        found = [(by, node) for by, _, node in children]
    return f"{document.path}:{line + 1}"


def stands(document: Document, key: str) -> str:
    """'file:line' of a key of the outermost mapping."""
    return place_of((document,), document.values, (key,))


def _in_force(found: list[tuple[Document, yaml.Node | None]], merged: bool) -> list[tuple[Document, yaml.Node | None]]:
    """The nodes, the most particular first, without those that one before them replaces."""
    kept: list[tuple[Document, yaml.Node | None]] = []
    tags: dict[str, Any] = {}
    for document, node in found:
        own = _tags(node)
        if kept and not (merged and isinstance(node, yaml.MappingNode) and isinstance(kept[0][1], yaml.MappingNode)):
            break
        if other_kind(own, tags):
            break
        kept.append((document, node))
        tags = {**own, **tags}
    return kept


def _tags(node: yaml.Node | None) -> dict[str, Any]:
    """The words of a mapping that tell kinds apart."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: value.value for key, value in pairs if key.value in TAGS}


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    """What stands in a node under a key or number, and in which line, counted from 0."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None
