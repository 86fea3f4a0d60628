"""What is wrong with a recipe, or cannot be done by this installation, found out before anything is spent.

Belongs here: walking a recipe for files, models and parts that are not there. Does not belong here: the form of a
recipe (recipe/loading.py tells what is wrong with it first), what stored work a recipe would reuse (plan.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from synthvlm_core.captions import files
from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation import evaluated
from synthvlm_core.models import weights
from synthvlm_core.parts.benchmark import Benchmark
from synthvlm_core.parts.locations import locate
from synthvlm_core.parts.part import Context, Part
from synthvlm_core.parts.rule import Rule
from synthvlm_core.parts.section import Location, Model, Section
from synthvlm_core.parts.source import Source
from synthvlm_core.recipe.loading import Loaded
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import context
from synthvlm_core.training.data.pictures import local_file

Level = Literal["wrong", "not applied", "needed"]

LEFT_OUT = (Rule, Benchmark)
"""Parts that a run leaves out where they are unavailable, and says so. It stops at any other."""


@dataclass(frozen=True)
class Problem:
    """One thing to know before a run."""

    level: Level
    """wrong: a run would stop there. not applied: the part is left out of the run, and the results say so. needed: the
    run fetches it."""
    file: str
    line: int
    key: str
    message: str
    part: str = ""
    """The kind of a part that is not applied."""

    @property
    def place(self) -> str:
        """'file:line'"""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return ": ".join(filter(None, (self.place, self.key, self.part, self.message)))


@dataclass(frozen=True)
class _Found:
    level: Level
    key: str
    message: str
    part: str = ""


def problems(loaded: Loaded) -> list[Problem]:
    """Everything that is wrong or missing, in the order of the recipe's keys. Reads no weights and no captions."""
    found = []
    for one in (*_walk(loaded.recipe, "", context(loaded.recipe)), *_nothing_to_ask(loaded.recipe)):
        file, _, line = loaded.place(one.key).rpartition(":")
        found.append(Problem(one.level, file, int(line), one.key, one.message, one.part))
    return found


def _walk(section: Section, key: str, where: Context) -> Iterator[_Found]:
    """What is wrong with a section and all below it."""
    if isinstance(section, Model):
        yield from _model(section, key, where)
        return
    if isinstance(section, Part) and (why := section.unavailable(where)) is not None:
        level: Level = "not applied" if isinstance(section, LEFT_OUT) else "wrong"
        yield _Found(level, key, why, section.kind_name)
        return  # what it names is not needed either
    below = [*_source(section, key, where)] if isinstance(section, Source) else []
    for name, field in type(section).model_fields.items():
        place = f"{key}.{name}" if key else name
        value = getattr(section, name)
        if Location("file") in field.metadata and value is not None:
            below += _file(value, place, where)
        for number, item in enumerate(value if isinstance(value, tuple) else (value,)):
            if isinstance(item, Section):
                below += _walk(item, f"{place}.{number}" if isinstance(value, tuple) else place, where)
    yield from below
    if isinstance(section, Part) and (why := section.problem(where)) is not None:
        name, colon, rest = why.partition(": ")
        at, why = (f"{key}.{name}", rest) if colon and name in type(section).model_fields else (key, why)
        if not any(found.key == at or found.message == why for found in below):  # else it is told already
            yield _Found("wrong", at, why)


def _source(source: Source, key: str, where: Context) -> Iterator[_Found]:
    whole = True
    for name, field in type(source).model_fields.items():
        if Location("files") in field.metadata:
            for number, pattern in enumerate(getattr(source, name)):
                try:
                    files.resolve(source.name, (pattern,), where.folder)
                except Mendable as error:
                    whole = False
                    yield _Found("wrong", f"{key}.{name}.{number}", str(error))
    if whole:  # then they must fit together as well
        try:
            files.input_files(source, where.folder)
        except Mendable as error:
            yield _Found("wrong", key, str(error))


def _model(model: Model, key: str, where: Context) -> Iterator[_Found]:
    try:
        found = weights.resolve(model, where.folder, key)
        fetched = not found.local and not weights.is_cached(found)
    except ValueError as error:  # a Mendable, or the hub's own for an id that cannot be one
        why = str(error)
        at = f"{key}.revision" if why.startswith(f"{key}.revision") else f"{key}.id"
        yield _Found("wrong", at, why.removeprefix(at).lstrip(": "))
    else:
        if fetched:
            yield _Found("needed", f"{key}.id", f"{found.location} at {found.revision}")


def _file(name: str, key: str, where: Context) -> Iterator[_Found]:
    try:
        local_file(locate(name, where.folder), key, "one, or correct the name")
    except Mendable as error:
        yield _Found("wrong", key, str(error).removeprefix(f"{key}: "))


def _nothing_to_ask(recipe: Recipe) -> Iterator[_Found]:
    if len(evaluated.not_applied(recipe)) == len(recipe.evaluation.benchmarks):
        yield _Found(
            "not applied",
            "evaluation",
            "none of its benchmarks can be run, so the asset evaluation stops; no other does",
        )
