"""Sections of a recipe: immutable, strict, and able to name the values that a result depends on.

Belongs here: the base of all sections, markers of their fields, `Model`, and `named`, from which every definition is
made. Does not belong here: any section of a recipe (parts/, recipe/sections.py) and loading (recipe/loading.py).

Stored work outlives the code. A definition is a hash over named values, and a value is left out where it equals what
its absence meant on the day its key came into being. So every key that need not be given says what that was:

    steps: Positive
    eta: Annotated[float, Absent(0.0)] = 0.0

`Absent` is frozen for ever; the default may change. Adding a key then renames nothing, and changing a default renames
exactly what it must. `Incidental` marks what changes time and memory, not results.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from synthvlm_core import hashing

NAME_PATTERN = r"^[a-z0-9]+([._-][a-z0-9]+)*$"
Name = Annotated[str, Field(pattern=NAME_PATTERN, max_length=64)]
Share = Annotated[float, Field(ge=0.0, le=1.0)]
Positive = Annotated[int, Field(gt=0)]


@dataclass(frozen=True)
class Absent:
    """What it meant that the key was not there, as the JSON value of `named`. Frozen: see the module."""

    value: Any


@dataclass(frozen=True)
class Incidental:
    """The key changes time, memory or what people are shown, and no result: it is part of no definition."""


@dataclass(frozen=True)
class Location:
    """The text is a path, a glob, an fsspec URL or `package:name/path`; relative ones start at the file they stand in.

    `kind` is what must be there when a recipe is checked: a file, any number of files of a glob (`files`), a folder or
    else a hub id (`model`), a file or else one of a hub (`hub_file`), or a file or else a word that the part knows
    (`word`).
    """

    kind: Literal["file", "files", "model", "hub_file", "word"] = "file"


class Section(BaseModel):
    """A part of a recipe: immutable, strict about types, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        for name, field in cls.model_fields.items():
            said = any(isinstance(marker, Absent | Incidental) for marker in field.metadata)
            if not field.is_required() and not said and not _is_tag(field.annotation):
                raise TypeError(
                    f"{cls.__name__}.{name} has a default and does not say what its absence meant: annotate it with "
                    "Absent(value), frozen for ever, or with Incidental()"
                )

    @property
    def hash(self) -> str:
        """Digest of the section's named values."""
        return hashing.of_json(named(self))


class Model(Section):
    """Where weights come from: a folder, or a hub id with a pinned revision. Safetensors only, never a pickle."""

    id: Annotated[str, Field(min_length=1), Location("model")]
    revision: Annotated[str | None, Absent(None)] = None
    variant: Annotated[str | None, Absent(None)] = None
    dtype: Annotated[Literal["float32", "float16", "bfloat16"], Absent("float32")] = "float32"


Weights = Callable[[Model, str], str]
"""(model, its key) to the hash that identifies its weights."""


def named(section: Section, *, weights: Weights | None = None, leave_out: Collection[str] = (), key: str = "") -> Any:
    """The values that a result depends on, by name, as JSON values.

    Args:
        weights: gives what stands for a `Model`; None takes the recipe's words, which reads no file.
        leave_out: dotted keys that the result at hand does not depend on.
        key: dotted key of the section itself, for `weights`.

    Returns:
        A dict without incidental keys and without keys whose value is that of their absence.
    """
    if weights is not None and isinstance(section, Model):
        return weights(section, key)
    found: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        if name in leave_out or any(isinstance(marker, Incidental) for marker in field.metadata):
            continue
        inner = [path.removeprefix(f"{name}.") for path in leave_out if path.startswith(f"{name}.")]
        place = f"{key}.{name}" if key else name
        value = _plain(getattr(section, name), weights, inner, place)
        if any(isinstance(marker, Absent) and marker.value == value for marker in field.metadata):
            continue
        found[name] = value
    return found


def definition(measurement: str, version: int, values: dict[str, Any]) -> str:
    """Hash over everything that a measured value depends on apart from its content.

    Args:
        measurement: its name.
        version: raised when the same values and content give another result.
        values: what else it depends on, by name.
    """
    return hashing.of_json({"measurement": measurement, "version": version, "values": values})


def _plain(value: Any, weights: Weights | None, leave_out: Collection[str], key: str) -> Any:
    if isinstance(value, Section):
        return named(value, weights=weights, leave_out=leave_out, key=key)
    if isinstance(value, tuple):
        return [_plain(item, weights, (), f"{key}.{number}") for number, item in enumerate(value)]
    if isinstance(value, dict):
        return {name: _plain(item, weights, (), f"{key}.{name}") for name, item in value.items()}
    return value


def _is_tag(annotation: Any) -> bool:
    """Whether a field holds one word for ever: the tag of a part."""
    return getattr(annotation, "__origin__", None) is Literal and len(annotation.__args__) == 1
