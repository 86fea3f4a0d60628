"""What must hold for stored scores, found out from the stored files alone.

Belongs here: properties of the scores of a source, each as a Finding with its numbers. Does not belong here: repeating
a number that the stage itself reported, or what happens when a property fails (synthvlm_assets). The per-source
thresholds are a check as well, in selection/checks.py, since selection asks the same question.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from synthvlm_core.findings import Finding, Sample
from synthvlm_core.parts.score import Score
from synthvlm_core.scoring import scoring
from synthvlm_core.scoring.scored import TABLE, ScoredPairs
from synthvlm_core.store import shards, sql

SHOWN = 5
"""Wrong images that a summary names."""


def every_image_has_one_score(stage: ScoredPairs) -> Finding:
    """Every image that counts has exactly one row of finite scores, of the picture that is stored, under its own
    caption, and each is the one that was measured."""
    scores = [score.column for score in stage.recipe.scores]
    finite = " and ".join(f"isfinite({score})" for score in scores)
    with sql.scratch() as scratch:
        state = stage.images.state(scratch)
        counting = state.counting
        pairs = scratch.load(stage.table.schema, stage.pairs())
        measured = {score.column: stage.stored_values(scratch, state, score) for score in stage.recipe.scores}
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
        for score, values in measured.items():
            queries[f"{score} other than measured"] = f"""
                select image_id
                from {pairs} as scored left join {values} as measured using (image_id)
                where measured.value is distinct from scored.{score}
            """
        wrong, unlike = [], []
        for problem, query in queries.items():
            count, first = scratch.row(f"select count(*), min(image_id) from ({query})")
            numbers[problem.removesuffix(f" than {stage.partition}").replace(" ", "_")] = count
            if count:
                wrong.append(f"{count} {problem}, the first {first}")
                unlike += [score for score in stage.recipe.scores if problem == f"{score.column} other than measured"]
    manifest = stage.manifest
    for what, stored, now in (
        ("spec", manifest["spec"], stage.spec),
        ("image definition", manifest["image_definition"], stage.images.definition),
    ):
        if stored != now:
            wrong.append(f"the manifest states {what} {stored}, the recipe's is {now}")
    if wrong:
        wrong.append(_forget(stage, unlike))
    summary = "; ".join(wrong) or f"{numbers['images']} images, each with one row of scores of spec {manifest['spec']}"
    return Finding(not wrong, summary, numbers)


def scores_agree_with_stored_images(stage: ScoredPairs) -> Finding:
    """Scores of some images, computed anew from the stored bytes, are the stored ones, up to each score's bound.

    Which images depends on the scores' content, so that other scores are put to another sample.
    """
    scores = [score.column for score in stage.recipe.scores]
    sample = Sample(stage.manifest["pairs"], stage.recipe.checks.share, scoring.LEAST_LOOKED_AT)
    with sql.scratch() as scratch:
        state = stage.images.state(scratch)
        pairs = scratch.load(stage.table.schema, stage.pairs())
        columns = ", ".join(f"scored.{score}" for score in scores)
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
            [stage.manifest["content_hash"], sample.size],
        )

        def rows() -> Iterator[dict[str, Any]]:
            for part in stage.images.pictures(scratch, chosen):
                shard = part["shard"][0].as_py() if part.num_rows else ""
                names = ("image_id", "text", "picture_hash", *scores)
                told = scratch.rows(f"select {', '.join(names)} from {chosen} where shard = ?", [shard])
                stored = {row[0]: dict(zip(names, row, strict=True)) for row in told}
                for row in part.select(["image_id", "image"]).to_pylist():
                    yield {**row, **stored[row["image_id"]]}

        furthest, wrong, looked_at = scoring.recomputed(stage.recipe, rows())
        chosen_rows = scratch.count(chosen)
    if looked_at != chosen_rows:
        wrong.append(f"{chosen_rows - looked_at} of {chosen_rows} pictures are gone")
    told = ", ".join(f"{name} at most {apart:.1e}" for name, apart in furthest.items())
    sound = f"{sample.told('images')}, scored again: {told} apart"
    return Finding(
        not wrong,
        "; ".join([*wrong[:SHOWN], _forget(stage, stage.recipe.scores)]) if wrong else sound,
        {**sample.numbers(), "wrong": len(wrong), **{name: f"{apart:.1e}" for name, apart in furthest.items()}},
    )


def shards_are_undamaged(stage: ScoredPairs) -> Finding:
    """Every shard of the pairs has the bytes that its name promises and the rows that the manifest counts."""
    return shards.undamaged([(stage.folder, stage.shards(TABLE))])


def _forget(stage: ScoredPairs, scores: Iterable[Score]) -> str:
    """What to do about pairs that are wrong, and measurements that may be: nobody can tell which of them are."""
    folders = [stage.path, *(stage.score_folder(score).path for score in scores)]
    return f"delete {', '.join(map(stage.store.unstrip, folders))} and {stage.remedy}"
