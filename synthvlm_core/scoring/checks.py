"""What must hold for stored scores, found out from the stored files alone.

Belongs here: properties of the scores of a source, each as a Finding with its numbers. Does not belong here: repeating
a number that the stage itself reported, or what happens when a property fails (synthvlm_assets). The per-source
thresholds are a check as well, in selection/checks.py, since selection asks the same question.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from synthvlm_core.findings import Finding
from synthvlm_core.scoring import scoring
from synthvlm_core.scoring.scored import TABLE, ScoredPairs
from synthvlm_core.store import shards, sql

SAMPLE = 8


def every_image_has_one_score(stage: ScoredPairs) -> Finding:
    """Every image that counts has exactly one row of finite scores, of the picture that is stored, under its own
    caption."""
    scores = [score.column for score in stage.recipe.scores]
    finite = " and ".join(f"isfinite({score})" for score in scores)
    with sql.scratch() as scratch:
        counting = stage.images.state(scratch).counting
        pairs = scratch.load(stage.table.schema, stage.pairs())
        numbers: dict[str, Any] = {"images": scratch.count(counting), "rows": scratch.count(pairs)}
        both = f"{pairs} as scored join {counting} as counting using (image_id)"
        queries = {
            "missing": f"select image_id from {counting} anti join {pairs} using (image_id)",
            "of no image that counts": f"select image_id from {pairs} anti join {counting} using (image_id)",
            "more than one": f"select image_id from {pairs} group by image_id having count(*) > 1",
            "not finite": f"select image_id from {pairs} where not ({finite})",
            "of another caption": f"select image_id from {both} where scored.caption_id <> counting.caption_id",
            "of another picture": f"select image_id from {both} where scored.picture_hash <> counting.picture_hash",
            f"of another source than {stage.partition}": f"select image_id from {pairs} where source <> "
            f"'{stage.partition}'",
        }
        wrong = []
        for problem, query in queries.items():
            count, first = scratch.row(f"select count(*), min(image_id) from ({query})")
            numbers[problem.removesuffix(f" than {stage.partition}").replace(" ", "_")] = count
            if count:
                wrong.append(f"{count} {problem}, the first {first}")
    manifest = stage.manifest
    for what, stored, now in (
        ("spec", manifest["spec"], stage.spec),
        ("image definition", manifest["image_definition"], stage.images.definition),
    ):
        if stored != now:
            wrong.append(f"the manifest states {what} {stored}, the recipe's is {now}")
    summary = "; ".join(wrong) or f"{numbers['images']} images, each with one row of scores of spec {manifest['spec']}"
    return Finding(not wrong, summary, numbers)


def scores_agree_with_stored_images(stage: ScoredPairs, *, sample: int = SAMPLE) -> Finding:
    """Scores of some images, computed anew from the stored bytes, are the stored ones, up to each score's bound.

    Which images depends on the scores' content, so that other scores are put to another sample.
    """
    scores = stage.recipe.scores
    with sql.scratch() as scratch:
        state = stage.images.state(scratch)
        pairs = scratch.load(stage.table.schema, stage.pairs())
        columns = ", ".join(f"scored.{score.column}" for score in scores)
        # the kept captions' text, not the one beside the picture: a picture swapped with its text must show too
        chosen = scratch.create(
            f"""
            select counting.shard, image_id, counting.picture_hash, captions.text, {columns}
            from {pairs} as scored
            join {state.counting} as counting using (image_id)
            join {state.captions} as captions on captions.caption_id = counting.caption_id
            order by sha256(image_id || ?), image_id
            limit ?
            """,
            [stage.manifest["content_hash"], sample],
        )
        found = scratch.rows(f"select image_id, text, picture_hash, {_names(stage)} from {chosen}")
        stored = {image_id: values for image_id, *values in found}
        rows = [
            {**row, "text": stored[row["image_id"]][0], "picture_hash": stored[row["image_id"]][1]}
            for part in stage.images.pictures(scratch, chosen)
            for row in part.to_pylist()
        ]
    furthest: dict[str, float] = {}
    wrong: list[str] = []
    with ThreadPoolExecutor(stage.recipe.threads) as pool:
        for number, score in enumerate(scores):
            computed = scoring.values_of(score, score.load(stage.context), rows, pool) if rows else []
            apart = [
                abs(value - stored[row["image_id"]][2 + number]) for row, value in zip(rows, computed, strict=True)
            ]
            furthest[score.column] = max(apart, default=0.0)
            for row, distance in zip(rows, apart, strict=True):
                if not distance <= score.bound:  # NaN is as far as can be
                    wrong.append(
                        f"{score.column} of {row['image_id']} is {distance:.1e} off, {score.bound:.0e} allowed"
                    )
    if len(rows) != len(stored):
        wrong.append(f"{len(stored) - len(rows)} of {len(stored)} pictures are gone")
    told = ", ".join(f"{name} at most {apart:.1e}" for name, apart in furthest.items())
    summary = "; ".join(wrong) or f"{len(rows)} of {stage.manifest['pairs']} images scored again: {told} apart"
    return Finding(not wrong, summary, {"images": len(rows), **{n: f"{apart:.1e}" for n, apart in furthest.items()}})


def shards_are_undamaged(stage: ScoredPairs) -> Finding:
    """Every shard of the pairs has the bytes that its name promises and the rows that the manifest counts."""
    return shards.undamaged([(stage.folder, stage.shards(TABLE))])


def _names(stage: ScoredPairs) -> str:
    return ", ".join(score.column for score in stage.recipe.scores)
