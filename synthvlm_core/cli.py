"""The command `synthvlm`.

Belongs here: arguments and what is printed. Does not belong here: finding anything out (checking.py, plan.py).
"""

import os
from collections.abc import Iterator, Sequence
from textwrap import indent
from typing import TYPE_CHECKING, Annotated

import typer

from synthvlm_core import checking
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import in_words
from synthvlm_core.recipe import documents, loading
from synthvlm_core.store.objects import Store

if TYPE_CHECKING:
    from synthvlm_core.captions.what_if import Outcome, Share
    from synthvlm_core.parts.rule import Bounds
    from synthvlm_core.plan import SetPlan, SourcePlan, VariantPlan

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)

Recipe = Annotated[str, typer.Argument(help="A preset (miniature, paper) or the path of a recipe file.")]

_HEADINGS = {
    "wrong": "To be mended before anything runs",
    "not applied": "Left out by this version, and named as left out in the results",
    "needed": "Fetched from the model hub when it is needed",
}


@app.callback()
def main() -> None:
    """Captions in, a curated set of synthetic image-caption pairs and the models trained on it out."""


@app.command(short_help="Tell what is wrong with a recipe.")
def check(recipe: Recipe) -> None:
    """Tell everything that is wrong with a recipe or that this installation cannot do, before anything is spent."""
    draft = _read(recipe)
    found = checking.problems(draft)
    for level, heading in _HEADINGS.items():
        lines = list(_grouped([problem for problem in found if problem.level == level]))
        if lines:
            _say(f"{heading}:", *(indent(line, "  ") for line in lines), "")
    wrong = sum(problem.level == "wrong" for problem in found)
    name = draft.section("name") or recipe
    if not wrong:
        _say(f"{name}: can run here")
        return
    _say(f"{name}: cannot run yet, {wrong} {'thing is' if wrong == 1 else 'things are'} to be mended")
    if draft.documents[0].path.parent == documents.PRESETS:
        _say(f"To name your own files, write a recipe that begins with `extends: {draft.documents[0].path.stem}`.")
    raise typer.Exit(1)


Location = Annotated[str, typer.Option(envvar="SYNTHVLM_STORE", help="The store: a folder or any fsspec URL.")]


@app.command(short_help="Count what a recipe would do to a store.")
def plan(recipe: Recipe, store: Location = "store") -> None:
    """Count what a recipe would do to a store, and do nothing: new, reused, drawn again, thrown out; what trains."""
    from synthvlm_core import plan as planning

    try:
        with in_words():
            found = planning.plan(Store(store), loading.load(recipe))
    except Mendable as error:
        raise _stop(error) from error
    for source in found.sources:
        _say(*_source_lines(source))
    if drawn := sum(source.to_draw for source in found.sources):
        at_most = "" if all(source.exact for source in found.sources) else "at most "
        _say(f"in all: {at_most}{drawn:,} images to draw")
    _say("", *map(_set_line, found.sets), "", *map(_variant_line, found.variants))


@app.command(short_help="Count what other thresholds would keep.")
def thresholds(
    recipe: Recipe,
    source: Annotated[str, typer.Argument(help="The name of a source.")],
    store: Location = "store",
    rule: Annotated[str | None, typer.Option(help="One rule, over its thresholds.")] = None,
    minimum: Annotated[float | None, typer.Option("--min", help="Another lower bound of the rule.")] = None,
    maximum: Annotated[float | None, typer.Option("--max", help="Another upper bound of the rule.")] = None,
) -> None:
    """Count from stored values what other thresholds would keep of a source; nothing is measured or written."""
    from synthvlm_core.captions.filtered import FilteredCaptions
    from synthvlm_core.captions.what_if import WhatIf
    from synthvlm_core.parts.rule import Bounds
    from synthvlm_core.store import sql

    try:
        with in_words(), sql.scratch() as scratch:
            if rule is None and (minimum is not None or maximum is not None):
                raise Mendable("--min and --max are bounds of a rule: name it by --rule")
            found = WhatIf(scratch, FilteredCaptions(Store(store), loading.load(recipe), source))
            _say(f"{source}: {found.kept:,} of {found.captions:,} captions kept")
            if rule is None:
                _say(*_table(["rule", "passes", "rejects", "alone"], [_share_cells(one) for one in found.shares()]))
                _say("alone: broken by no other rule, as far as it was measured: models read what cheaper rules left")
                return
            wanted = [] if minimum is None and maximum is None else [Bounds(minimum, maximum)]
            outcomes = found.outcomes(rule, wanted)
            rows = [_outcome_cells(one, found.kept) for one in outcomes]
            _say(*_table([f"{rule} passes", "kept", "more or less"], rows))
            if unread := max((one.unread for one in outcomes), default=0):
                _say(f"up to {unread:,} of them were never measured for another rule, and may break it")
    except Mendable as error:
        raise _stop(error) from error


def _share_cells(share: "Share") -> list[str]:
    return [share.rule, _interval(share.bounds), f"{share.rejects:,}", f"{share.alone:,}"]


def _outcome_cells(outcome: "Outcome", now: int) -> list[str]:
    change = outcome.kept - now
    return [_interval(outcome.bounds), f"{outcome.kept:,}", f"{change:+,}" if change else "as now"]


def _interval(bounds: "Bounds") -> str:
    low, high = ("" if bound is None else f"{bound:.6g}" for bound in (bounds.minimum, bounds.maximum))
    if low and high:
        return f"{low} to {high}"
    return f">= {low}" if low else f"<= {high}" if high else "everything"


def _table(heads: list[str], rows: list[list[str]]) -> list[str]:
    """Lines of a table: words to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    words = [head == "rule" or "passes" in head for head in heads]
    return ["  " + "  ".join(map(_padded, row, widths, words)).rstrip() for row in [heads, *rows]]


def _padded(cell: str, width: int, is_word: bool) -> str:
    return cell.ljust(width) if is_word else cell.rjust(width)


def _grouped(problems: Sequence[checking.Problem]) -> Iterator[str]:
    """One line for each problem; neighbours that differ in one word only, as ten tasks of one harness do, share one."""
    groups: list[list[checking.Problem]] = []
    for problem in problems:
        if groups and _together([*groups[-1], problem]) is not None:
            groups[-1].append(problem)
        else:
            groups.append([problem])
    for group in groups:
        first, last = group[0], group[-1]
        lines = f"{first.line}-{last.line}" if last.line > first.line else f"{first.line}"
        key = first.key if len(group) == 1 else first.key.rpartition(".")[0]
        part = ", ".join(dict.fromkeys(problem.part for problem in group if problem.part))
        yield ": ".join(filter(None, (f"{first.file}:{lines}", key, part, _together(group))))


def _together(problems: Sequence[checking.Problem]) -> str | None:
    """One message for items of one list, with what differs between theirs in one place; None if more does."""
    if len(problems) == 1:
        return problems[0].message
    lists = {(problem.file, problem.key.rpartition(".")[0]) for problem in problems}
    if len(lists) > 1 or not all(problem.part for problem in problems):
        return None
    words = [problem.message.split(" ") for problem in problems]
    if len({len(spelled) for spelled in words}) > 1:
        return None
    joined = [list(dict.fromkeys(found)) for found in zip(*words, strict=True)]
    return " ".join(",".join(found) for found in joined) if sum(len(found) > 1 for found in joined) <= 1 else None


def _source_lines(source: "SourcePlan") -> list[str]:
    at_most = "" if source.exact else "at most "
    kept = f"{at_most}{source.kept:,} of {source.captions:,} kept"
    if source.settled and not source.enter and not source.leave:
        return [f"{source.source}: nothing to do; captions: {kept}; images: {source.reused:,} reused"]
    lines = [f"{source.source}:"]
    if source.files_to_read and source.files_to_read < source.files:
        lines.append(f"  files       {source.files_to_read:,} of {source.files:,} to read, not counted below")
    if source.captions:
        lines.append(f"  captions    {kept}: {source.enter:,} enter, {source.leave:,} leave")
    if source.problem:
        return [*lines, f"  {source.problem}"]
    measured, bound = [], ""
    for name, count in source.to_measure.items():
        if count:
            measured.append(f"{bound}{count:,} {name.replace('_', ' ')}")
            bound = "at most "
    lines.append(f"  to measure  {', '.join(measured) or 'nothing'}")
    again = f", {source.again:,} drawn again" if source.again else ""
    lines.append(f"  images      {at_most}{source.new:,} new{again}; {source.reused:,} reused")
    scores = [f"{at_most}{count:,} {name}" for name, count in source.to_score.items() if count]
    lines.append(f"  to score    {', '.join(scores) or 'nothing'}")
    return lines


def _set_line(found: "SetPlan") -> str:
    name = f"set {found.name}"
    if found.problem:
        stays = "; the released one stays" if found.refused and found.released else ""
        gone = f"; {found.leave:,} of its pairs leave with their captions" if found.leave else ""
        return f"{name}: {'refused: ' if found.refused else ''}{found.problem}{stays}{gone}"
    if not found.released:
        return f"{name}: {found.size:,} pairs, released for the first time"
    if not found.changes:
        more = f"; {', '.join(found.formats)} is added" if found.formats else ""
        return f"{name}: stays as it is, {found.size:,} pairs{more}"
    if found.enter or found.leave:
        change = (
            f"{found.enter:,} of {found.size:,} pairs enter ({found.enter / found.size:.1%}), {found.leave:,} leave"
        )
    else:
        change = f"the same {found.size:,} pairs" + ("" if found.words_change else " with other ranks or scores")
    return f"{name}: {change}{'; its human turns are others' if found.words_change else ''}"


def _variant_line(found: "VariantPlan") -> str:
    if found.problem:
        return f"model {found.name}: cannot be trained: {found.problem}"
    if found.trains is False:
        return f"model {found.name}: nothing to train"
    how = "started by the retraining sensor" if found.by_itself else "when somebody starts it"
    return f"model {found.name}: trains{' if its set changes' if found.trains is None else ''}, {how}"


def _read(recipe: str) -> loading.Draft:
    try:
        with in_words():
            return loading.read(recipe)
    except Mendable as error:
        raise _stop(error) from error


def _stop(error: Exception) -> typer.Exit:
    _say(str(error), err=True)
    return typer.Exit(1)


def _say(*lines: str, err: bool = False) -> None:
    """Print lines, with paths below the working directory relative to it."""
    for line in lines:
        typer.echo(line.replace(f"{os.getcwd()}{os.sep}", ""), err=err)
