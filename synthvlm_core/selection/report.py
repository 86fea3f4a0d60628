"""What is told of a selection: what was taken of which source, what was not and why.

Belongs here: the numbers of a report, and the words for too few pairs. Does not belong here: choosing (selection.py).
"""

from collections.abc import Sequence
from typing import Any

from synthvlm_core.findings import Finding
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.recipe.sections import Recipe, ReleasedSet
from synthvlm_core.scoring import summary
from synthvlm_core.store.sql import Relation, Scratch


def of(
    scratch: Scratch,
    sources: Sequence[tuple[str, dict[str, Any]]],
    recipe: Recipe,
    chosen: ReleasedSet,
    *,
    pairs: Relation,
    best: Relation,
    taken: Relation,
    verdicts: dict[str, Finding],
) -> dict[str, Any]:
    """The report of a selection.

    Args:
        sources: name and manifest of each.
        pairs: every scored pair, with its source as `home` and whether it lies nowhere `above` the floor.
        best: one pair per caption that can be taken.
        taken: of these the set.

    Returns:
        by, size, weights, spec, image_definition; pairs, available; threshold_score (the lowest taken), next_score (the
        highest left out; both null unless selected by weighted score); means by score; sources: {name: {passed,
        verdict, numbers, pairs, below_floor, captions, available, selected, means}}.
    """
    counts = {
        name: counted
        for name, *counted in scratch.rows(
            f"""
            select
                home,
                count(*),
                count(*) filter (where not above),
                count(distinct caption_id) filter (where above)
            from {pairs}
            group by home
            """
        )
    }
    available, selected = (
        dict(scratch.rows(f"select source, count(*) from {rows} group by source")) for rows in (best, taken)
    )
    lowest = following = None
    if chosen.by == WEIGHTED:
        lowest = scratch.row(f"select min({WEIGHTED}) from {taken}")[0]
        following = scratch.row(f"select max({WEIGHTED}) from {best} anti join {taken} using (image_id)")[0]
    scores = [*(score.column for score in recipe.scores), WEIGHTED]
    by_source = {}
    for name, _ in sources:
        scored, below, captions = counts.get(name, (0, 0, 0))
        mine = f"(select * from {taken} where source = '{name}')"
        by_source[name] = {
            "passed": verdicts[name].passed,
            "verdict": verdicts[name].summary,
            "numbers": verdicts[name].numbers,
            "pairs": scored,
            "below_floor": below,
            "captions": captions,
            "available": available.get(name, 0),
            "selected": selected.get(name, 0),
            "means": {score: summary.mean(scratch, mine, score) for score in scores},
        }
    return {
        "by": chosen.by,
        "size": chosen.size or recipe.selection.size,
        "weights": chosen.weights or recipe.selection.weights,
        "spec": sources[0][1]["spec"] if sources else None,
        "image_definition": sources[0][1]["image_definition"] if sources else None,
        "pairs": sum(found["pairs"] for found in by_source.values()),
        "available": sum(found["available"] for found in by_source.values()),
        "threshold_score": lowest,
        "next_score": following,
        "means": {score: summary.mean(scratch, taken, score) for score in scores},
        "sources": by_source,
    }


def too_few(report: dict[str, Any]) -> str:
    """Why fewer pairs can be taken than are wanted, and what to do."""
    lines = [f"{report['size']} pairs are wanted, {report['available']} can be taken:"]
    for name, found in report["sources"].items():
        why = f"{found['available']} of {found['pairs']}"
        if not found["passed"]:
            why += f", since the source fails the recipe's thresholds: {found['verdict']}"
        else:
            others = found["pairs"] - found["below_floor"] - found["available"]
            why += f"; {found['below_floor']} lie below the floor, {others} are further images of a caption"
        lines.append(f"  {name}: {why}")
    return "\n".join([*lines, "Lower selection.size, selection.floor or selection.source_thresholds, or add captions."])
