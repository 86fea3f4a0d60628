"""What must hold for a set, found out from its stored files.

Belongs here: properties of synthvlm_100k as Findings. Does not belong here: selecting (selection/), what follows from
them (verdict.py) and how they are shown (synthvlm_assets).
"""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pyarrow as pa

from synthvlm_core import hashing
from synthvlm_core.findings import Finding, Sample
from synthvlm_core.hashing import ContentHash
from synthvlm_core.parts.format import Format, Pair
from synthvlm_core.parts.score import WEIGHTED
from synthvlm_core.release.formats.huggingface import HuggingFace
from synthvlm_core.release.gathering import with_turns
from synthvlm_core.release.released import REMEDY, Synthvlm100k
from synthvlm_core.scoring import scoring, summary
from synthvlm_core.scoring.scored import score_columns
from synthvlm_core.selection import thresholds
from synthvlm_core.store import sql
from synthvlm_core.store.products import DamagedProduct
from synthvlm_core.store.sql import Relation, Scratch

BESIDES = ("manifest.json", "verdict/")
"""What lies beside the files that a manifest names."""
FROM_SCORES = "mend what the checks of scored_pairs tell, then materialize synthvlm_100k again"
SHOWN = 5
"""Wrong pairs that a summary names."""
_PAIRS = pa.schema([("image_id", pa.string()), ("said", pa.string()), ("picture_hash", pa.string())])

Property = Callable[[Synthvlm100k], Finding]


def _of_readable_files(holds: Property) -> Property:
    """A file that is gone or cannot be read fails the property; it is named together with the remedy."""

    @functools.wraps(holds)
    def found_out(stage: Synthvlm100k) -> Finding:
        try:
            return holds(stage)
        except DamagedProduct as damage:
            return Finding(False, str(damage))

    return found_out


@_of_readable_files
def set_is_whole(stage: Synthvlm100k) -> Finding:
    """The set has exactly the number of pairs asked for, ranks without gaps, no image and no caption twice."""
    images: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    ranks: list[int] = []
    for part in stage.rows(["rank", "image_id", "caption_id"]):
        images.update(part["image_id"].to_pylist())
        captions.update(part["caption_id"].to_pylist())
        ranks += part["rank"].to_pylist()
    size = stage.chosen.size or stage.recipe.selection.size
    doubled = [name for counts in (images, captions) for name, count in counts.items() if count > 1]
    wrong = [f"{len(ranks):,} of {size:,} pairs"] if len(ranks) != size else []
    if doubled:
        wrong.append(f"{len(doubled)} images or captions twice, the first {doubled[0]}")
    if sorted(ranks) != list(range(1, len(ranks) + 1)):
        wrong.append("ranks have gaps or occur twice")
    return Finding(
        not wrong,
        "; ".join([*wrong, _anew(stage)]) if wrong else f"{size:,} pairs, none twice",
        {"pairs": len(ranks), "expected": size, "doubled": len(doubled)},
    )


@_of_readable_files
def no_pair_is_below_the_floor(stage: Synthvlm100k) -> Finding:
    """Every released pair reaches the floor, its weighted score is that of its scores, its source meets thresholds."""
    recipe = stage.recipe
    columns = ["source", *(column.name for column in score_columns(recipe)), WEIGHTED]
    schema = pa.schema([stage.table.schema.field(name) for name in columns])
    with sql.scratch() as scratch:
        rows = scratch.load(schema, stage.rows(columns))
        weighted = summary.weighted(stage.chosen.weights or recipe.selection.weights)
        below, wrong = scratch.row(
            f"""
            select
                count(*) filter (where not ({thresholds.above(recipe)})),
                count(*) filter (where {WEIGHTED} is distinct from {weighted})
            from {rows}
            """
        )
        sources = {name for (name,) in scratch.rows(f"select distinct source from {rows}")}
    scored = {one.partition: one for one in stage.scored}
    failing = [f"{name} is not in the recipe" for name in sorted(sources - scored.keys())]
    for name in sorted(scored.keys() & sources):
        verdict = thresholds.verify_source(scored[name])
        if not verdict.passed:
            failing.append(f"{name}: {verdict.summary}")
    passed = not (below or wrong or failing)
    told = (
        f"{below} pairs below the floor, {wrong} with another weighted score, failing sources: "
        f"{'; '.join(failing) or 'none'}"
    )
    return Finding(
        passed,
        # of a source that fails nothing in the set is wrong: it stays, and says so until another can take its place
        told if passed else f"{told}; {_anew(stage) if below or wrong else FROM_SCORES}",
        {"below": below, "wrong": wrong, "failing_sources": len(failing)},
    )


@_of_readable_files
def formats_agree(stage: Synthvlm100k) -> Finding:
    """Every file has the bytes, and the rows have the content, that were released, and no other file lies among them;
    every format says of every row what it must, and of nothing else."""
    damage = [*stage.product.damage(), *stage.product.foreign(besides=BESIDES)]
    if damage:
        return Finding(False, "; ".join([*damage[:SHOWN], REMEDY]), {"damaged": len(damage)})
    context = stage.set_context(stage.manifest)
    further = [form for form in stage.formats() if not isinstance(form, HuggingFace)]
    wrong: list[str] = []
    with sql.scratch() as scratch:
        expected = {form.kind_name: scratch.load(_PAIRS, []) for form in further}
        content = ContentHash()
        count = 0
        for part in stage.rows():
            content.add_table(with_turns(part, stage.recipe.release.instructions, stage.recipe.seed))
            rows = part.to_pylist()
            count += len(rows)
            for form in further:
                scratch.add(expected[form.kind_name], _tables(form.pair(row, context) for row in rows))
        for form in further:
            try:
                told = scratch.load(_PAIRS, _tables(_pairs_of(stage, form)))
            except DamagedProduct:
                raise
            except ValueError as error:
                wrong.append(str(error))
            else:
                wrong += _differences(scratch, form, expected[form.kind_name], told)
    if content.hexdigest != stage.manifest["content_hash"]:
        wrong.insert(0, f"the rows' content hash is {content.hexdigest}")
    names = ", ".join(form.kind_name for form in further)
    return Finding(
        not wrong,
        "; ".join([*wrong[:SHOWN], _anew(stage)]) if wrong else f"{count:,} rows, in {names or 'one format'} the same",
        {"rows": count, "formats": 1 + len(further), "wrong": len(wrong)},
    )


@_of_readable_files
def scores_are_of_the_pictures(stage: Synthvlm100k) -> Finding:
    """Scores of released pairs, computed anew from the pictures and captions as they were released, are those that the
    set states, up to each score's bound: a set cannot be better than its pictures, whatever was stored on the way."""
    recipe = stage.recipe
    sample = Sample(stage.manifest["rows"], recipe.checks.share, scoring.LEAST_LOOKED_AT)
    furthest, wrong, looked_at = scoring.recomputed(recipe, _some(stage, sample))
    told = ", ".join(f"{name} at most {apart:.1e}" for name, apart in furthest.items())
    return Finding(
        not wrong,
        "; ".join([*wrong[:SHOWN], FROM_SCORES]) if wrong else f"{sample.told('pairs')}, scored again: {told} apart",
        {**sample.numbers(), "looked_at": looked_at, "wrong": len(wrong)},
    )


PROPERTIES: tuple[Property, ...] = (
    set_is_whole,
    no_pair_is_below_the_floor,
    scores_are_of_the_pictures,
    formats_agree,
)
"""All that a set must pass before anybody uses it."""


def _anew(stage: Synthvlm100k) -> str:
    """What to do about a set whose files are those of its manifest and wrong: made again it would be found as it is."""
    return f"delete {stage.store.unstrip(stage.location)} and {REMEDY}"


def _some(stage: Synthvlm100k, sample: Sample) -> Iterator[dict[str, Any]]:
    """Rows of a set by lot: which depends on its content, so that another set is put to another sample."""
    columns = ["image_id", "text", "image", *(column.name for column in score_columns(stage.recipe))]
    content = stage.manifest["content_hash"]
    most = sample.size * 2**128 // max(1, sample.total)
    for part in stage.rows(columns):
        for number, image_id in enumerate(part["image_id"].to_pylist()):
            if int(hashing.digest(b"sample", content.encode(), image_id.encode()), 16) < most:
                yield part.slice(number, 1).to_pylist()[0]


def _pairs_of(stage: Synthvlm100k, form: Format) -> Iterator[Pair]:
    """The pairs that a format's stored files tell."""
    product, folder = stage.product, form.folder
    names = [name.removeprefix(f"{folder}/") for name in product.names(folder)]
    return form.pairs(lambda name: product.get(f"{folder}/{name}"), names, stage.set_context(stage.manifest))


def _tables(pairs: Iterable[Pair]) -> Iterator[pa.Table]:
    """Pairs with one hash for all that they say in words."""
    rest = iter(pairs)
    while some := list(itertools.islice(rest, sql.BATCH_ROWS)):
        yield pa.table(
            {
                "image_id": [pair.image_id for pair in some],
                "said": [hashing.digest(pair.text.encode(), pair.more.encode()) for pair in some],
                "picture_hash": [pair.picture_hash for pair in some],
            },
            _PAIRS,
        )


def _differences(scratch: Scratch, form: Format, expected: Relation, told: Relation) -> list[str]:
    """What a format says otherwise than the rows: one line per image."""
    query = f"""
        select
            image_id,
            max(said) filter (where due > 0),
            max(said) filter (where due < 0),
            max(picture_hash) filter (where due > 0),
            max(picture_hash) filter (where due < 0),
            sum(due)
        from (
            select image_id, said, picture_hash, sum(due) as due
            from (
                select *, 1 as due from {expected}
                union all
                select *, -1 as due from {told}
            )
            group by image_id, said, picture_hash
            having sum(due) <> 0
        )
        group by image_id
        order by image_id
    """
    found = []
    for image_id, said, told_said, picture, told_picture, due in scratch.rows(query):
        if due > 0:
            what = "is missing"
        elif due < 0:
            what = "is there more often than in the rows"
        else:
            words = ["other words"] if said != told_said else []
            what = f"has {' and '.join(words + (['another picture'] if picture != told_picture else []))}"
        found.append(f"{form.folder}/: image {image_id} {what}")
    return found
