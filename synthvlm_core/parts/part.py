"""Parts: the sections of a recipe that come in kinds, each kind a module of its own.

Belongs here: the base of all parts, finding their kinds, and the field type that takes any of them. Does not belong
here: what a part of a room must offer (the other modules of this folder) and the parts (the rooms).

A room is a package whose `PARTS` lists the classes it offers, told apart by one key of the recipe:

    room                                key         offers
    synthvlm_core.captions.readers      format      ways to read a source's files
    synthvlm_core.captions.originals    by          ways to the original images of a source
    synthvlm_core.captions.rules        rule        bounds for a statistic of a caption
    synthvlm_core.images.generators     kind        ways to draw
    synthvlm_core.scoring.scorers       score       numbers of a pair
    synthvlm_core.release.formats       format      forms of a released set
    synthvlm_core.evaluation.benchmarks benchmark   what a checkpoint is asked

The rooms lie on higher floors than the recipe, so they are imported by name, and not before a recipe is loaded.
"""

import functools
import importlib
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Union

from pydantic import BeforeValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema

from synthvlm_core.parts.section import Section


@dataclass(frozen=True)
class Context:
    """What a part may need to know beside its own section."""

    folder: str
    """The recipe's folder, where relative paths start."""
    seed: int
    threads: int
    """CPU threads of a worker: bytes are reproducible for a thread count."""


class Part(Section):
    """A section that is one of several kinds."""

    tag: ClassVar[str]
    """The key that tells the kinds of the room apart."""

    @property
    def kind_name(self) -> str:
        """The recipe's word for this kind."""
        return str(getattr(self, self.tag))

    def unavailable(self, context: Context) -> str | None:
        """Why this version or this installation cannot do what the part asks, with the remedy; None if it can.

        A stage leaves such a part out where it may, and says so (a rule), or refuses to begin (a generator).
        """
        return None

    def problem(self, context: Context) -> str | None:
        """What is wrong beyond what every file and model that the section names shows by itself; None if nothing.

        Where one key of the section is at fault it comes first: `words: no such file`.
        """
        return None

    def content(self, context: Context) -> str | None:
        """Hash of what the section names by files that are no models, so that an edit of one shows; None without any.

        Raises:
            Mendable: if a file cannot be read.
        """
        return None


@dataclass(frozen=True)
class OneOf:
    """Field type: any part of a room, chosen by the room's key. A plain word is the part of that kind with no keys."""

    room: str

    @property
    def parts(self) -> dict[str, type[Part]]:
        """The classes of the room by the recipe's word for each."""
        return kinds(self.room)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        classes = tuple(dict.fromkeys(self.parts.values()))
        tag = classes[0].tag
        # `|` cannot be told its members at run time
        choice: Any = Annotated[Union[classes], Field(discriminator=tag)] if len(classes) > 1 else classes[0]  # noqa: UP007

        def spelled_out(value: Any) -> Any:
            return {tag: value} if isinstance(value, str) else _tuples(value)

        return handler.generate_schema(Annotated[choice, BeforeValidator(spelled_out)])


@functools.cache
def kinds(room: str) -> dict[str, type[Part]]:
    """The classes that a room offers, by the recipe's word for each."""
    found: dict[str, type[Part]] = {}
    for cls in importlib.import_module(room).PARTS:
        for word in cls.model_fields[cls.tag].annotation.__args__:
            found[word] = cls
    return found


def _tuples(value: Any) -> Any:
    """A JSON value with tuples for its lists: behind a validator of our own pydantic takes it for a Python value."""
    if isinstance(value, list):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return value
