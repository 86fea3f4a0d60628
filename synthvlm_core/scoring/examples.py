"""Pairs of a source to look at: the best, the worst, and those that hang in the balance.

Belongs here: choosing a few pairs by score and fetching their pictures. Does not belong here: laying them out
(contact_sheets.py).
"""

from typing import Any

from synthvlm_core import sql
from synthvlm_core.images import synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.scoring import stage
from synthvlm_core.store import Store


def examples(store: Store, recipe: Recipe, source_name: str, *, each: int = 6) -> list[dict[str, Any]]:
    """The `each` best, borderline and worst pairs by weighted score, in this order, without repetition.

    Borderline are those nearest to the recipe's floor, on either side; without a floor those in the middle.

    Returns:
        Rows with place ("best", "borderline" or "worst"), image_id, text, data (encoded picture), clip_score, ssim.
    """
    bounds = {score: bound for score, bound in recipe.selection.floor.model_dump().items() if bound is not None}
    margin = f"least({', '.join(f'{score} - {bound!r}::double' for score, bound in bounds.items())})" if bounds else ""
    with sql.connect() as db:
        synthesis.load_state(db, store, recipe, source_name)
        db.register("stored_scores", stage.dataset(store, recipe, source_name))
        db.execute(
            "create table ordered as select *, row_number() over (order by weighted_score desc, image_id) as n,"
            " count(*) over () as total from (select *, clip_score + ? * ssim as weighted_score from stored_scores)",
            [recipe.selection.weight],
        )
        db.execute(
            "create table placed as select *, case when n <= $1 then 'best' when n > total - $1 then 'worst'"
            " else 'borderline' end as place from ordered",
            [each],
        )
        nearness = f"row_number() over (partition by place order by abs({margin or 'n - (total + 1) / 2'}), n)"
        db.execute(
            "create table chosen as select shard, image_id, text, clip_score, ssim, n, place"
            f" from (select *, {nearness} as nearness from placed) join counting using (image_id)"
            " join captions on captions.caption_id = counting.caption_id"
            " where place <> 'borderline' or nearness <= $1",
            [each],
        )
        found = db.execute("select image_id, text, clip_score, ssim, n, place from chosen").fetchall()
        pictures = {
            row["image_id"]: row["image"]["bytes"] for row in stage.pictures(db, store, recipe, source_name, "chosen")
        }
    rows = [
        {"place": place, "image_id": image_id, "text": text, "data": pictures[image_id], "clip_score": c, "ssim": s}
        for image_id, text, c, s, _, place in sorted(found, key=lambda row: row[4])
    ]
    return [row for place in ("best", "borderline", "worst") for row in rows if row["place"] == place]
