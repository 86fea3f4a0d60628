"""What is wrong with a recipe, or cannot be done by this installation, found out before anything is spent.

Belongs here: walking a recipe, or what is to become one, for files, models and parts that are not there. Does not
belong here: the form of a recipe (recipe/loading.py), what stored work a recipe would reuse (plan.py).
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from synthvlm_core import lfs
from synthvlm_core.captions import files, judging
from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation import evaluated, perplexity
from synthvlm_core.models import fitting, kenlm, weights
from synthvlm_core.parts.benchmark import Benchmark
from synthvlm_core.parts.locations import locate
from synthvlm_core.parts.part import Context, Part
from synthvlm_core.parts.rule import Rule
from synthvlm_core.parts.section import Location, Model, Section
from synthvlm_core.parts.source import InputFile, Source
from synthvlm_core.recipe.loading import Draft
from synthvlm_core.recipe.sections import Recipe, Training
from synthvlm_core.recipe.types import annotation_of, section_of
from synthvlm_core.stages import context
from synthvlm_core.training.data import mixes
from synthvlm_core.training.data.pictures import local_file

Level = Literal["wrong", "not applied", "needed"]

DECODED = 500
"""Pictures of the instruction mix that are decoded, evenly from all of it; training decodes every one."""
FIRST_ROWS = 100
"""Rows of the first file of a source that are read."""
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
    place: str = ""
    """'file:line' where it is known already."""


def problems(draft: Draft) -> list[Problem]:
    """Everything that is wrong or missing, in the order of the recipe's keys. Reads no weights and few captions.

    Of a draft that is no recipe yet also what keeps it from being one, in the order of files and lines.
    """
    if draft.mistakes:
        found = [_Found("wrong", mistake.key, mistake.message, place=mistake.place) for mistake in draft.mistakes]
        found += _walk_values(Recipe, draft.values, "", _context_of(draft))
    else:
        recipe = draft.recipe()
        found = [
            *_walk(recipe, "", context(recipe)),
            *_originals(recipe),
            *_nothing_to_ask(recipe),
            *_answers(recipe),
        ]
    told = []
    for one in found:
        file, _, line = (one.place or draft.place(one.key)).rpartition(":")
        told.append(Problem(one.level, file, int(line), one.key, one.message, one.part))
    names = [str(document.path) for document in draft.documents]
    return sorted(told, key=lambda found: (names.index(found.file), found.line)) if draft.mistakes else told


def _context_of(draft: Draft) -> Context:
    """As `stages.context`, of what may be no recipe."""
    seed, threads = draft.section("seed"), draft.section("threads")
    return Context(draft.folder, 0 if seed is None else seed, threads or 1)


def _walk_values(cls: type[Section], values: Any, key: str, where: Context) -> Iterator[_Found]:
    """What is wrong with values beyond their not making a section: with all below them that do make one."""
    try:
        yield from _walk(cls.model_validate_json(json.dumps(values)), key, where)
        return
    except ValidationError:  # the mistakes themselves are told
        pass
    for name, value in values.items() if isinstance(values, dict) else ():
        field, place = cls.model_fields.get(name), f"{key}.{name}" if key else name
        if field is None:
            continue
        if Location("files") in field.metadata:
            yield from _patterns(str(values.get("name")), value, place, where)
        elif Location("file") in field.metadata and isinstance(value, str):
            yield from _file(value, place, where)
        for number, item in enumerate(value if isinstance(value, list) else (value,)):
            inner = section_of(annotation_of(cls, name), item)
            if inner is not None and isinstance(item, dict):
                yield from _walk_values(inner, item, f"{place}.{number}" if isinstance(value, list) else place, where)


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
    below += _training(section, key, where) if isinstance(section, Training) else []
    for name, field in type(section).model_fields.items():
        place = f"{key}.{name}" if key else name
        value = getattr(section, name)
        if Location("file") in field.metadata and value is not None:
            below += _file(value, place, where)
        if Location("files") in field.metadata and not isinstance(section, Source):
            below += _patterns(section.kind_name if isinstance(section, Part) else key, value, place, where)
        if Location("hub_file") in field.metadata:
            below += _hub_file(value, place, where)
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
    found: list[_Found] = []
    for name, field in type(source).model_fields.items():
        if Location("files") in field.metadata:
            found += _patterns(source.name, getattr(source, name), f"{key}.{name}", where)
    yield from found
    if found:
        return
    try:  # then they must fit together as well
        inputs = files.input_files(source, where.folder)
    except Mendable as error:
        yield _Found("wrong", key, str(error))
        return
    if (why := _first_rows(source, inputs)) is not None:
        column = re.search(r"\bcolumns\.[a-z]+", why)  # readers say which one is at fault
        yield _Found("wrong", f"{key}.{column[0] if column else 'files'}", why)


def _first_rows(source: Source, inputs: Sequence[InputFile]) -> str | None:
    """What is wrong with the first rows of a source, None if some are captions. What is read together with other files
    may be read whole, so it is left to the run."""
    local = [Path(url) for file in inputs for url in (file.url, *file.companions) if "://" not in url]
    if (pointers := lfs.told(dict.fromkeys(local))) is not None:
        return pointers
    first = inputs[0]
    if first.companions:
        return None
    try:
        batch = next(judging.read(source, first, batch_rows=FIRST_ROWS), None)
        if batch is None:
            return f"{first.name} holds no row; put captions there, or take it out of the recipe"
        if batch.captions.num_rows:
            return None
        reason = Counter(batch.quarantined["reason"].to_pylist()).most_common(1)[0][0]
        looks = judging.looks_like(first)
    except Mendable as error:
        return str(error)
    like = f"; it looks like {looks}" if looks else ""
    return (
        f"{first.name}: none of its first {batch.rows:,} rows is a caption ({reason}){like}. Correct the source's "
        "format or columns"
    )


def _patterns(source: str, patterns: Any, key: str, where: Context) -> Iterator[_Found]:
    """What is wrong with the files of a source, pattern by pattern."""
    for number, pattern in enumerate(patterns if isinstance(patterns, list | tuple) else ()):
        if isinstance(pattern, str):
            try:
                files.resolve(source, (pattern,), where.folder)
            except Mendable as error:
                yield _Found("wrong", f"{key}.{number}", str(error))


def _training(training: Training, key: str, where: Context) -> Iterator[_Found]:
    """What small files tell of the models, and all rows and some pictures of the instruction mix."""
    root = _folder_of(training.vision_tower, where)
    for at, why in fitting.tower(root, training) if root else ():
        yield _Found("wrong", f"{key}.{at}", why)
    told = set()
    for number, variant in enumerate(training.variants):
        root = _folder_of(variant.language_model, where)
        for at, why in fitting.language(root, training) if root else ():
            place = f"{key}.variants.{number}.language_model.id" if at == "id" else f"{key}.{at}"
            if (place, why) not in told:
                told.add((place, why))
                yield _Found("wrong", place, why)
    place = f"{key}.instructions"
    try:
        path = local_file(locate(training.instructions, where.folder), place, "one")
    except Mendable:  # told already
        return
    try:
        mix = mixes.Mix(path)
        mix.decode(mix.sample(DECODED), where.threads)
        wrong = mix.told()
    except Mendable as error:
        wrong = str(error)
    if wrong is not None:
        yield _Found("wrong", place, wrong)


def _answers(recipe: Recipe) -> Iterator[_Found]:
    """What small files tell of questions and answers."""
    told = set()
    for variant in recipe.training.variants:
        root = _folder_of(variant.language_model, context(recipe))
        told |= set(fitting.answers(root, recipe.evaluation)) if root else set()
    for at, why in sorted(told):
        yield _Found("wrong", f"evaluation.{at}", why)
    if recipe.evaluation.texts is not None:
        try:
            perplexity.read_texts(local_file(locate(recipe.evaluation.texts, recipe.folder), "", ""))
        except Mendable as error:
            if not str(error).startswith(": "):  # else it is told already that it is not there
                yield _Found("wrong", "evaluation.texts", str(error))


def _folder_of(model: Model, where: Context) -> Path | None:
    """A model's folder, if it is one and nothing is wrong with it so far."""
    try:
        found = weights.resolve(model, where.folder)
    except ValueError:  # told already
        return None
    return Path(found.location) if found.local else None


def _model(model: Model, key: str, where: Context) -> Iterator[_Found]:
    try:
        found = weights.resolve(model, where.folder, key)
        if found.local:
            weights.refuse_cut(Path(found.location), f"{key}.id")
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


def _hub_file(name: str, key: str, where: Context) -> Iterator[_Found]:
    try:
        file = kenlm.model_file(name, where.folder, key)
        _ = file.path() if file.is_local else file.identity
    except Mendable as error:
        yield _Found("wrong", key, str(error).removeprefix(f"{key}: "))
    else:
        if not file.is_local:
            yield _Found("needed", key, name)


def _originals(recipe: Recipe) -> Iterator[_Found]:
    """Rules that would drop every caption of sources that name no original images."""
    without = [source for source in recipe.sources if source.originals is None]
    for number, rule in enumerate(recipe.captions.rules):
        key = f"captions.rules.{number}"
        if rule.drops_without_original and without:
            names = ", ".join(source.name for source in without)
            yield _Found(
                "wrong",
                f"{key}.without_image",
                f"drop would drop every caption of {names}, which names no original images; name them by originals, or "
                "keep captions without one",
            )


def _nothing_to_ask(recipe: Recipe) -> Iterator[_Found]:
    if len(evaluated.not_applied(recipe)) == len(recipe.evaluation.benchmarks):
        yield _Found(
            "not applied",
            "evaluation",
            "none of its benchmarks can be run, so the asset evaluation stops; no other does",
        )
