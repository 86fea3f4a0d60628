"""Pairs of a source to look at: the best, the worst, and those that hang in the balance.

Belongs here: choosing a few pairs by score and fetching their pictures. Does not belong here: laying them out
(pictures/contact_sheets.py).
"""

from typing import Any

from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.scoring import summary
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store import sql


def examples(stage: ScoredPairs, *, each: int = 6) -> list[dict[str, Any]]:
    """The `each` best, borderline and worst pairs by weighted score, in this order, without repetition.

    Borderline are those nearest to the recipe's floor, on either side; without a floor those in the middle.

    Returns:
        Rows with place ("best", "borderline" or "worst"), image_id, text, data (encoded picture) and scores, by name.
    """
    values = summary.expressions(stage.recipe)
    names = [score.column for score in stage.recipe.scores]
    margins = [f"({values[score]}) - {sql.number(bound)}" for score, bound in stage.recipe.selection.floor.items()]
    nearness = f"abs(least({', '.join(margins)}))" if margins else "abs(n - (total + 1) / 2)"
    with sql.scratch() as scratch:
        state = stage.images.state(scratch)
        pairs = scratch.load(stage.table.schema, stage.pairs())
        ordered = scratch.create(
            f"""
            select
                *,
                row_number() over (order by {values[WEIGHTED]} desc, image_id) as n,
                count(*) over () as total
            from {pairs}
            """
        )
        placed = scratch.create(
            f"""
            select
                *,
                case when n <= $1 then 'best' when n > total - $1 then 'worst' else 'borderline' end as place
            from {ordered}
            """,
            [each],
        )
        near = scratch.create(
            f"select *, row_number() over (partition by place order by {nearness}, n) as nearness from {placed}"
        )
        chosen = scratch.create(
            f"""
            select counting.shard, image_id, captions.text, n, place, {", ".join(f"near.{name}" for name in names)}
            from {near} as near
            join {state.counting} as counting using (image_id)
            join {state.captions} as captions on captions.caption_id = counting.caption_id
            where place <> 'borderline' or nearness <= ?
            """,
            [each],
        )
        found = scratch.rows(f"select image_id, text, n, place, {', '.join(names)} from {chosen}")
        pictures = {
            row["image_id"]: row["image"]["bytes"]
            for part in stage.images.pictures(scratch, chosen)
            for row in part.select(["image_id", "image"]).to_pylist()
        }
    rows = [
        {
            "place": place,
            "image_id": image_id,
            "text": text,
            "data": pictures[image_id],
            "scores": dict(zip(names, scores, strict=True)),
        }
        for image_id, text, _, place, *scores in sorted(found, key=lambda row: row[2])
    ]
    return [row for place in ("best", "borderline", "worst") for row in rows if row["place"] == place]
