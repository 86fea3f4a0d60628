"""Thresholds: what a pair and a source must reach before anything is selected.

Belongs here: the floor as SQL, and the one answer to whether a source may be taken from, for selection, checks and
automation. Does not belong here: ranking (selection.py), numbers for people (scoring/summary.py).

A floor or threshold on `weighted_score` is meant under the selection's weights, whatever weights a set of its own has:
what may be taken is the same for the paper's set and for every control.
"""

from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import summary
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store import sql
from synthvlm_core.store.sql import Relation, Scratch


def finite(recipe: Recipe) -> str:
    """SQL that is true where all scores of a pair are numbers."""
    return " and ".join(f"isfinite({score.column})" for score in recipe.scores)


def above(recipe: Recipe) -> str:
    """SQL that is true where a pair's scores are numbers and lie nowhere below the floor, which is closed."""
    values = summary.expressions(recipe)
    # in DuckDB NaN is above every number, so that it must be asked for
    floors = [f"({values[score]}) >= {sql.number(bound)}" for score, bound in sorted(recipe.selection.floor.items())]
    return " and ".join([finite(recipe), *floors])


def verify(scratch: Scratch, pairs: Relation | str, recipe: Recipe, source: str) -> Finding:
    """Whether the scores of a source reach the recipe's thresholds for it.

    Means and the share are over all pairs of the source; the share counts those that lie nowhere below the floor. A
    score that is not finite fails, and so does a source of which no pair can be taken, unless the recipe says that it
    may be empty; without any pair no threshold is asked of it then.

    Args:
        pairs: a column for each score of the recipe.
        source: its name.

    Returns:
        Numbers: pairs, not_finite, mean_<score> for every score and the weighted one, share_above_floor (null without
        pairs), and each threshold that is set as `<name>_threshold`.
    """
    count, broken, high = scratch.row(
        f"""
        select count(*), count(*) filter (where not ({finite(recipe)})), count(*) filter (where {above(recipe)})
        from {pairs}
        """
    )
    numbers: dict[str, float | None] = {
        f"mean_{score}": summary.mean(scratch, pairs, value) for score, value in summary.expressions(recipe).items()
    }
    numbers["share_above_floor"] = high / count if count else None
    section = recipe.selection.source_thresholds.of(source)
    thresholds = {f"mean_{score}": bound for score, bound in section.mean.items()}
    if section.share_above_floor is not None:
        thresholds["share_above_floor"] = section.share_above_floor
    wrong = [f"{broken} of {count} pairs have a score that is not finite"] if broken else []
    if not high:
        empty = "there are no pairs" if not count else f"none of {count} pairs can be taken"
        if source not in recipe.selection.may_be_empty:
            wrong.append(f"{empty}; if that is meant, name the source in selection.may_be_empty")
        elif not count:
            return Finding(True, f"{empty}, as the recipe allows", {"pairs": 0, "not_finite": 0, **numbers})
    reached = []
    for name, bound in thresholds.items():
        value, words = numbers[name], name.replace("_", " ")
        if value is None:
            wrong.append(f"{words} must be at least {bound:g}")
        elif value >= bound:
            reached.append(f"{words} {value:.4f} is at least {bound:g}")
        else:
            wrong.append(f"{words} {value:.4f} is below {bound:g}")
    summary_line = "; ".join(wrong) or f"{count} pairs: {'; '.join(reached) or 'no thresholds are set'}"
    bounds = {f"{name}_threshold": bound for name, bound in thresholds.items()}
    return Finding(not wrong, summary_line, {"pairs": count, "not_finite": broken, **numbers, **bounds})


def verify_source(stage: ScoredPairs) -> Finding:
    """`verify` on the stored pairs of a source. Raises NotMaterialized if there are none for the recipe."""
    with sql.scratch() as scratch:
        return verify(scratch, scratch.load(stage.table.schema, stage.pairs()), stage.recipe, stage.partition)
