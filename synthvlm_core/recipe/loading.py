"""From a YAML file to a recipe, with errors that a person can act on.

Belongs here: reading, `extends`, explaining what is wrong with file, line and key; the resolved form that a run
carries. Does not belong here: what a recipe says (sections.py), whether its files and models are there (checking.py).

    extends: miniature      # a preset, or a path that starts at this file
    name: mine
    sources: [...]

takes the other recipe and changes what is named. Sections are merged key by key; lists, maps whose keys are free
(`weights`, `floor`) and parts of another kind are replaced; relative paths belong to the file in which they stand.
"""

import json
import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import yaml
from pydantic import ValidationError

from synthvlm_core.errors import RecipeError
from synthvlm_core.parts.locations import is_relative
from synthvlm_core.parts.part import OneOf
from synthvlm_core.parts.section import Location, Section
from synthvlm_core.recipe.sections import Recipe

PRESETS = Path(__file__).parent / "presets"
EXTENDS = "extends"
_TAGS = ("kind", "rule", "score", "format", "benchmark")


@dataclass(frozen=True)
class Document:
    """One YAML file: its values and where in it they stand."""

    path: Path
    node: yaml.Node | None
    values: dict[str, Any]


@dataclass(frozen=True)
class Loaded:
    """A recipe and the files it came from, the most particular one first."""

    recipe: Recipe
    documents: tuple[Document, ...]
    values: dict[str, Any]
    """What they say together."""

    def place(self, key: str) -> str:
        """'file:line' of a dotted key, or of the deepest part of it that stands in a file."""
        return _place(self.documents, self.values, _location(key))


def load(name_or_path: str) -> Recipe:
    """Load a preset by name, or a recipe file.

    Raises:
        RecipeError: naming file, line, key and what is allowed.
    """
    return load_with_places(name_or_path).recipe


def load_with_places(name_or_path: str) -> Loaded:
    """Load a recipe and remember where its values stand. Raises RecipeError as `load`."""
    documents = _documents(name_or_path, Path.cwd(), ())
    folder = documents[0].path.resolve().parent
    values: dict[str, Any] = {}
    for document in reversed(documents):
        home = document.path.resolve().parent
        own = {key: value for key, value in document.values.items() if key != EXTENDS}
        values = _merged(Recipe, values, own if home == folder else _rebased(Recipe, own, home, folder))
    try:
        recipe = Recipe.model_validate_json(json.dumps(values, allow_nan=True))
    except ValidationError as error:
        raise RecipeError("\n".join(_explained(documents, values, error.errors()))) from error
    return Loaded(recipe.model_copy(update={"folder": str(folder)}), documents, values)


def dumps(recipe: Recipe) -> str:
    """The resolved recipe as JSON, for a run to carry."""
    return recipe.model_dump_json()


def loads(text: str) -> Recipe:
    """The inverse of `dumps`. Raises RecipeError if the text is not a resolved recipe."""
    try:
        return Recipe.model_validate_json(text)
    except ValidationError as error:
        raise RecipeError(f"not a resolved recipe: {error}") from error


def _documents(name_or_path: str, base: Path, below: tuple[Document, ...]) -> tuple[Document, ...]:
    """The file of that name and all that it extends."""
    preset = PRESETS / f"{name_or_path}.yaml"
    path = preset if preset.is_file() else base / Path(name_or_path).expanduser()
    by = f"{_stands(below[-1], EXTENDS)}: {EXTENDS}: " if below else ""
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        raise RecipeError(f"{by}no recipe {name_or_path!r}: neither a preset ({known}) nor a file")
    if path.resolve() in [document.path.resolve() for document in below]:
        raise RecipeError(f"{by}{name_or_path} extends itself")
    document = _read(path)
    extended = document.values.get(EXTENDS)
    if EXTENDS not in document.values:
        return (document,)
    if not isinstance(extended, str):
        place = _stands(document, EXTENDS)
        raise RecipeError(f"{place}: {EXTENDS}: the name of a preset or the path of a recipe, not {extended!r}")
    return (document, *_documents(extended, path.resolve().parent, (*below, document)))


def _read(path: Path) -> Document:
    try:
        text = path.read_text(encoding="utf-8")
        node = yaml.compose(text, Loader=_Plain)
        values = yaml.load(text, Loader=_Plain)
        json.dumps(values, allow_nan=True)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        what = ": ".join(filter(None, (error.context, error.problem)))
        raise RecipeError(f"{place}: not a readable recipe: {what}") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError, OSError) as error:
        raise RecipeError(f"{path}: not a readable recipe: {error}") from error
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of sections, this is {type(values).__name__}")
    document = Document(path, node, values)
    if "folder" in values:
        raise RecipeError(f"{_stands(document, 'folder')}: folder: unknown key; it is where the file lies")
    return document


def _merged(section: type[Section] | None, base: Any, own: Any) -> Any:
    """Sections merged key by key; anything else, and a part of another kind, replaced."""
    if section is None or not isinstance(base, dict) or not isinstance(own, dict) or _other_kind(base, own):
        return own
    inner = {
        key: _section_of(_annotation(section, key), {**_as_dict(base.get(key)), **_as_dict(own[key])}) for key in own
    }
    return {**base, **{key: _merged(inner[key], base[key], own[key]) if key in base else own[key] for key in own}}


def _other_kind(base: dict[str, Any], own: dict[str, Any]) -> bool:
    """Whether two mappings are parts of different kinds."""
    return any(tag in own and tag in base and own[tag] != base[tag] for tag in _TAGS)


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _annotation(section: type[Section], key: str) -> Any:
    """The type of a section's key with its markers, None if it has no such key."""
    field = section.model_fields.get(key)
    if field is None:
        return None
    return Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation


def _rebased(section: type[Section], values: dict[str, Any], home: Path, folder: Path) -> dict[str, Any]:
    """The values with relative paths rewritten to start at another folder."""
    found = dict(values)
    for key, value in values.items():
        field = section.model_fields.get(key)
        if field is None:
            continue
        location = next((marker for marker in field.metadata if isinstance(marker, Location)), None)
        if location is not None and isinstance(value, str):
            found[key] = _moved(value, location, home, folder)
        elif location is not None and isinstance(value, list):
            found[key] = [_moved(v, location, home, folder) if isinstance(v, str) else v for v in value]
        else:
            items = value if isinstance(value, list) else [value]
            inner = [_section_of(_annotation(section, key), item) for item in items]
            moved = [
                _rebased(cls, item, home, folder) if cls is not None and isinstance(item, dict) else item
                for cls, item in zip(inner, items, strict=True)
            ]
            found[key] = moved if isinstance(value, list) else moved[0]
    return found


def _moved(name: str, location: Location, home: Path, folder: Path) -> str:
    if not is_relative(name) or (location.kind in ("model", "word") and not (home / name).exists()):
        return name
    return os.path.relpath(home / name, folder)


def _section_of(annotation: Any, value: Any) -> type[Section] | None:
    """The section class that reads a value, told by its tag where there are several."""
    if (room := _room(annotation)) is not None:
        offered = room.parts
        tag = next(iter(offered.values())).tag
        word = value.get(tag) if isinstance(value, dict) else value
        return offered.get(word) if isinstance(word, str) else None
    bare = _bare(annotation)
    if isinstance(bare, type) and issubclass(bare, Section):
        return bare
    for argument in get_args(bare):
        if (found := _section_of(argument, value)) is not None:
            return found
    return None


def _explained(documents: tuple[Document, ...], values: Any, problems: Sequence[Any]) -> list[str]:
    """The problems as 'file:line: key: what is wrong, what was given'."""
    bad = [problem["loc"] for problem in problems]
    return [
        _explain(documents, values, problem)
        for problem in problems
        # pydantic counts the items of a list without the bad ones, which are told already
        if not (problem["type"] == "too_short" and any(_below(location, problem["loc"]) for location in bad))
    ]


def _location(key: str) -> tuple[int | str, ...]:
    """A dotted key as a location."""
    return tuple(int(part) if part.isdecimal() else part for part in key.split("."))


def _below(location: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(location) > len(other) and location[: len(other)] == other


def _explain(documents: tuple[Document, ...], values: Any, problem: Any) -> str:
    kind, given = problem["type"], problem["input"]
    message = problem["msg"].removeprefix("Value error, ")
    location = _without_tags(problem["loc"], values)
    shown = "" if isinstance(given, dict | list) or kind == "missing" else f" (given: {given!r})"
    named = re.match(r"([a-z_]+(?:\.[a-z0-9_]+)*): ", message)
    if kind == "value_error" and named and _below(_location(named[1]), location):
        # a check of a whole section says itself which key it is about
        location = _location(named[1])
        message = message.removeprefix(named[0])
    elif kind == "extra_forbidden":
        section = _section_at(values, location[:-1])
        keys = [*([EXTENDS] if section is Recipe else []), *(section.model_fields if section else [])]
        message, shown = f"unknown key; allowed here: {', '.join(key for key in keys if key != 'folder')}", ""
    elif kind == "union_tag_invalid":
        tag = problem["ctx"]["discriminator"].strip("'")
        location = (*location, tag)
        message, shown = _allowed(problem["ctx"]["expected_tags"]), f" (given: {problem['ctx']['tag']!r})"
    elif kind == "union_tag_not_found":
        location = (*location, problem["ctx"]["discriminator"].strip("'"))
        room = _room(_annotation_at(values, location[:-1]))
        message = f"missing; {_allowed(', '.join(room.parts) if room else '')}"
    elif kind == "literal_error":
        message = _allowed(problem["ctx"]["expected"])
    key = ".".join(str(part) for part in location) or "recipe"
    return f"{_place(documents, values, location)}: {key}: {message}{shown}"


def _allowed(words: str) -> str:
    """What pydantic enumerates, without its quotes."""
    return f"allowed here: {re.sub(' or ', ', ', words).replace(chr(39), '')}"


def _without_tags(location: tuple[int | str, ...], values: Any) -> tuple[int | str, ...]:
    """A location of pydantic's without the words that it inserts for the kind of a part."""
    found: list[int | str] = []
    here: Any = values
    for part in location:
        if _has(here, part):
            here = here[part]
        elif here == part or (isinstance(here, dict) and part in [here.get(tag) for tag in _TAGS]):
            continue
        else:
            here = None
        found.append(part)
    return tuple(found)


def _has(values: Any, part: int | str) -> bool:
    if isinstance(values, list):
        return isinstance(part, int) and part < len(values)
    return isinstance(values, dict) and part in values


def _stands(document: Document, key: str) -> str:
    """'file:line' of a key of the outermost mapping."""
    return _place((document,), document.values, (key,))


def _place(documents: tuple[Document, ...], values: Any, location: tuple[int | str, ...]) -> str:
    """'file:line' of a location, or of the deepest part of it that stands in a file.

    Of several files that give a value the most particular one counts, and what it replaces does not.
    """
    found: list[tuple[Document, yaml.Node | None]] = [(document, document.node) for document in documents]
    document, line = documents[0], 0
    for depth, part in enumerate(location):
        merged = _section_at(values, location[:depth]) is not None
        children = [(by, *child) for by, node in _in_force(found, merged) if (child := _child(node, part))]
        if not children:
            break
        document, line = children[0][:2]
        found = [(by, node) for by, _, node in children]
    return f"{document.path}:{line + 1}"


def _in_force(found: list[tuple[Document, yaml.Node | None]], merged: bool) -> list[tuple[Document, yaml.Node | None]]:
    """The nodes, the most particular first, without those that one before them replaces."""
    kept: list[tuple[Document, yaml.Node | None]] = []
    tags: dict[str, Any] = {}
    for document, node in found:
        own = _tags(node)
        if kept and not (merged and isinstance(node, yaml.MappingNode) and isinstance(kept[0][1], yaml.MappingNode)):
            break
        if _other_kind(own, tags):
            break
        kept.append((document, node))
        tags = {**own, **tags}
    return kept


def _tags(node: yaml.Node | None) -> dict[str, Any]:
    """The words of a mapping that tell kinds apart."""
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    return {key.value: value.value for key, value in pairs if key.value in _TAGS}


def _child(node: yaml.Node | None, part: int | str) -> tuple[int, yaml.Node] | None:
    """What stands in a node under a key or number, and in which line, counted from 0."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark.line, value) for key, value in node.value if key.value == str(part)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part].start_mark.line, node.value[part]
    return None


def _annotation_at(values: Any, location: tuple[int | str, ...]) -> Any:
    """The type that a location has according to the sections above it, None if it has none."""
    annotation: Any = Recipe
    here: Any = values
    for part in location:
        if isinstance(part, int):
            annotation = next(iter(get_args(_bare(annotation))), None)
        else:
            section = _section_of(annotation, here)
            annotation = _annotation(section, part) if section else None
        here = here[part] if _has(here, part) else None
    return annotation


def _section_at(values: Any, location: tuple[int | str, ...]) -> type[Section] | None:
    """The section class at a location, None if there is none."""
    here: Any = values
    for part in location:
        here = here[part] if _has(here, part) else None
    return _section_of(_annotation_at(values, location), here)


def _bare(annotation: Any) -> Any:
    """A type without its markers."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _room(annotation: Any) -> OneOf | None:
    """The room that a type takes parts of."""
    markers = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
    return next((marker for marker in markers if isinstance(marker, OneOf)), None)


class _Plain(yaml.SafeLoader):
    """YAML without its traps: no key given twice, no aliases (a few of them expand to gigabytes), no dates."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.composer.ComposerError("aliases are not allowed")
        node: yaml.Node | None = super().compose_node(parent, index)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [key.value for key, _ in node.value]
        for key, _ in node.value:
            if keys.count(key.value) > 1:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} given twice", key.start_mark)
        return super().construct_mapping(node, deep)


# dates stay the text they are in the file, so that a wrong one is explained like every wrong value
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
