"""What a soak found, counted, as JSON and as docs/reliability.md.

Belongs here: counting trials, the words around the tables. Does not belong here: trying anything.

    python -m soak.report trials.jsonl docs/reliability.md
"""

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
SHOWN = 3
"""Checks, or remedies, that a table's cell names; the others are counted."""


def read(file: Path) -> list[Row]:
    """The trials of a soak."""
    return [json.loads(line) for line in file.read_text().splitlines()]


def counted(trials: Iterable[Row], by: Callable[[Row], str]) -> dict[str, Row]:
    """For each group how many were tried, killed, noticed, harmless, mended, at fault; noticed and mended by what."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for trial in trials:
        groups[by(trial)].append(trial)
    return {name: _counts(found) for name, found in sorted(groups.items())}


def _counts(trials: list[Row]) -> Row:
    noticed = [trial for trial in trials if trial["noticed"]]
    return {
        "tried": len(trials),
        "survived": sum(not trial["faults"] for trial in trials),
        "deaths": sum(trial["deaths"] for trial in trials),
        "noticed": len(noticed),
        "harmless": sum(not trial["noticed"] and not trial["faults"] for trial in trials),
        "noticed_by": dict(Counter(name for trial in noticed for name in trial["noticed"]).most_common()),
        "mended_by": dict(
            Counter(trial["mended"] for trial in noticed if trial["mended"] and not trial["faults"]).most_common()
        ),
    }


def figures(trials: list[Row]) -> Row:
    """All numbers of a soak."""
    planted = [trial for trial in trials if trial["kind"] == "planted"]
    return {
        "seconds": round(sum(trial["seconds"] for trial in trials)),
        "trials": counted(trials, lambda trial: trial["kind"]),
        "stages": counted((t for t in trials if t["deaths"] or t["kind"] == "killed"), lambda trial: trial["what"]),
        "objects": counted(planted, lambda trial: trial["what"]),
        "ways": counted(planted, lambda trial: trial["way"]),
        "faults": [{"seed": t["seed"], "told": t["told"], "faults": t["faults"]} for t in trials if t["faults"]],
    }


def document(trials: list[Row], command: str) -> str:
    """docs/reliability.md from the figures of one run."""
    found = figures(trials)
    total, survived = len(trials), sum(not trial["faults"] for trial in trials)
    lines = [
        "# Reliability",
        "",
        "Every number here was written by the run itself:",
        "",
        f"    {command}",
        "",
        "A small but whole graph (two sources, the models of the miniature, all release formats, training and",
        "evaluation) is run once undisturbed. Each trial takes a copy of its store and does one of these:",
        "",
        "- **killed**: a stage's process gets SIGKILL, SIGTERM or SIGINT, one to three times, at a random moment or at",
        "  a random operation on files, and is then run to its end;",
        "- **two at once**: two processes run the same stage, and both, one or none are killed;",
        "- **step damaged**: a training is killed after a step, and a file that it left to go on from is damaged;",
        "- **planted**: one stored object of the finished store is damaged; every check of every stage looks; what the",
        "  messages say is done, and nothing else; every check looks again.",
        "",
        "A trial is survived if afterwards every row and file equals those of the undisturbed run, every check says",
        "what it says there, no temporary file is left, and on the way nothing hung, nothing ended in a traceback, and",
        "messages about damage named the place and the remedy. Damage that nobody noticed must change nothing, neither",
        "as it stands nor when everything is decided again: it is counted as harmless.",
        "",
        f"**{total} trials in {found['seconds'] / 60:.0f} minutes, {survived} survived.**",
        "",
        "## Trials",
        "",
        *_table(
            ("kind", "tried", "survived", "deaths"),
            [(name, one["tried"], one["survived"], one["deaths"]) for name, one in found["trials"].items()],
        ),
        "",
        "## Killed, by stage",
        "",
        *_table(
            ("stage", "tried", "deaths", "survived"),
            [(name, one["tried"], one["deaths"], one["survived"]) for name, one in found["stages"].items()],
        ),
        "",
        "## Damaged, by what was damaged",
        "",
        *_table(
            ("object", "tried", "survived", "noticed", "harmless", "noticed by", "mended by"),
            [(f"`{name}`", *_planted(one)) for name, one in found["objects"].items()],
        ),
        "",
        "## Damaged, by how",
        "",
        *_table(
            ("damage", "tried", "survived", "noticed", "harmless", "noticed by", "mended by"),
            [(name.replace("_", " "), *_planted(one)) for name, one in found["ways"].items()],
        ),
        "",
    ]
    if found["faults"]:
        lines += ["## What did not hold", ""]
        for fault in found["faults"]:
            lines += [f"- `{fault['seed']}` {fault['told']}", *(f"  - {words}" for words in fault["faults"])]
        lines.append("")
    return "\n".join(lines)


def _planted(one: Row) -> tuple[Any, ...]:
    said = (_some(one[name]) for name in ("noticed_by", "mended_by"))
    return (one["tried"], one["survived"], one["noticed"], one["harmless"], *said)


def _some(counts: dict[str, int]) -> str:
    told = [f"{name} ({count})" for name, count in list(counts.items())[:SHOWN]]
    more = len(counts) - SHOWN
    return ", ".join([*told, *([f"{more} more"] if more > 0 else [])])


def _table(heads: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    spelled = [tuple(str(cell).replace("|", "\\|") for cell in row) for row in rows]
    return [f"| {' | '.join(row)} |" for row in (heads, tuple("---" for _ in heads), *spelled)]


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:3])
    target.write_text(document(read(source), "make test-outside"))
