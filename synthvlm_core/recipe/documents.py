"""The files of a recipe: reading YAML, following `extends`, putting the values of several together.

Belongs here: files and raw values. Does not belong here: whether the values make a recipe (loading.py), where one
stands (places.py).
"""

import json
import os
import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from synthvlm_core import lfs
from synthvlm_core.errors import RecipeError, meant
from synthvlm_core.parts.locations import is_relative
from synthvlm_core.parts.section import Location, Section
from synthvlm_core.recipe.places import Document, stands
from synthvlm_core.recipe.types import annotation_of, other_kind, section_of

PRESETS = Path(__file__).parent / "presets"
EXTENDS = "extends"


def documents_of(name_or_path: str, base: Path, below: tuple[Document, ...]) -> tuple[Document, ...]:
    """The file of that name and all that it extends, the most particular one first.

    Args:
        base: folder where a relative path starts.
        below: the files that extend this one.

    Raises:
        RecipeError: naming file and line, if one is not there, not readable or extends itself.
    """
    preset = PRESETS / f"{name_or_path}.yaml"
    path = preset if preset.is_file() else base / Path(name_or_path).expanduser()
    by = f"{stands(below[-1], EXTENDS)}: {EXTENDS}: " if below else ""
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in PRESETS.glob("*.yaml")))
        close = meant(name_or_path, known.split(", "))
        raise RecipeError(f"{by}no recipe {name_or_path!r}: neither a preset ({known}) nor a file{close}")
    if path.resolve() in [document.path.resolve() for document in below]:
        raise RecipeError(f"{by}{name_or_path} extends itself")
    document = _read(path)
    extended = document.values.get(EXTENDS)
    if EXTENDS not in document.values:
        return (document,)
    if not isinstance(extended, str):
        place = stands(document, EXTENDS)
        raise RecipeError(f"{place}: {EXTENDS}: the name of a preset or the path of a recipe, not {extended!r}")
    return (document, *documents_of(extended, path.resolve().parent, (*below, document)))


def merged(section: type[Section] | None, base: Any, own: Any) -> Any:
    """Sections merged key by key; anything else, and a part of another kind, replaced."""
    if section is None or not isinstance(base, dict) or not isinstance(own, dict) or other_kind(base, own):
        return own
    inner = {
        key: section_of(annotation_of(section, key), {**_as_dict(base.get(key)), **_as_dict(own[key])}) for key in own
    }
    return {**base, **{key: merged(inner[key], base[key], own[key]) if key in base else own[key] for key in own}}


def modern(values: Any) -> Any:
    """Values in today's words: of earlier versions' recipes, `training.automatic` is a link of `automation`."""
    training = _as_dict(_as_dict(values).get("training"))
    if not isinstance(training.get("automatic"), bool):
        return values
    links = [link for link in _as_list(values.get("automation")) if link != "training"]
    links += ["training"] * training["automatic"]
    kept = {key: value for key, value in training.items() if key != "automatic"}
    return {**values, "training": kept, "automation": links}


def rebased(section: type[Section], values: dict[str, Any], home: Path, folder: Path) -> dict[str, Any]:
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
            inner = [section_of(annotation_of(section, key), item) for item in items]
            moved = [
                rebased(cls, item, home, folder) if cls is not None and isinstance(item, dict) else item
                for cls, item in zip(inner, items, strict=True)
            ]
            found[key] = moved if isinstance(value, list) else moved[0]
    return found


def _moved(name: str, location: Location, home: Path, folder: Path) -> str:
    if not is_relative(name) or (location.kind in ("model", "word") and not (home / name).exists()):
        return name
    return os.path.relpath(home / name, folder)


def _read(path: Path) -> Document:
    if (pointer := lfs.told([path])) is not None:
        raise RecipeError(pointer)
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
    document = Document(path, node, modern(values))
    if "folder" in values:
        raise RecipeError(f"{stands(document, 'folder')}: folder: unknown key; it is where the file lies")
    return document


def _as_dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


class _Plain(yaml.SafeLoader):
    """YAML without its traps: no key given twice, no aliases (a few of them expand to gigabytes), no dates; numbers as
    YAML 1.2 and people read them: 1e-3 is one, 0123 (once octal) and 1:30 (once 90) are none."""

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


# what is no number or word of YAML 1.2 stays the text it is in the file, and is explained like every wrong value
_OTHERWISE = ("timestamp", "int", "float")
_Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.rpartition(":")[2] not in _OTHERWISE]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Plain.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"[-+]?(0|[1-9][0-9_]*)\Z"), list("-+0123456789"))
_Plain.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"""[-+]?((0|[1-9][0-9_]*)(\.[0-9_]*)?|\.[0-9][0-9_]*)([eE][-+]?[0-9]+)?\Z|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"""
    ),
    list("-+.0123456789"),
)
