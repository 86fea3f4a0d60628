"""What must hold for the latest release, found out from its stored files.

Belongs here: properties of synthvlm_100k as Findings. Does not belong here: selecting (selection.py) or what happens
when one fails (synthvlm_assets).
"""

import functools
import json
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from synthvlm_core import selection
from synthvlm_core.findings import Finding
from synthvlm_core.hashing import ContentHash
from synthvlm_core.images import encoding
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import llava, stage
from synthvlm_core.store import Store

READERS = 8
"""Pictures read at once: on a bucket each is a round trip."""

Property = Callable[[Store, Recipe], Finding]


def _of_readable_files(holds: Property) -> Property:
    """A file that is gone or cannot be read fails the property; it is named together with the remedy."""

    @functools.wraps(holds)
    def found_out(store: Store, recipe: Recipe) -> Finding:
        try:
            return holds(store, recipe)
        except stage.DamagedRelease as damage:
            return Finding(False, str(damage))

    return found_out


@_of_readable_files
def set_is_whole(store: Store, recipe: Recipe) -> Finding:
    """The set has exactly the recipe's number of pairs, ranks without gaps, no image and no caption twice."""
    found = stage.manifest(store, recipe)
    images: Counter[str] = Counter()
    captions: Counter[str] = Counter()
    ranks: list[int] = []
    for part in stage.rows(store, found, ["rank", "image_id", "caption_id"]):
        images.update(part["image_id"].to_pylist())
        captions.update(part["caption_id"].to_pylist())
        ranks += part["rank"].to_pylist()
    size = recipe.selection.size
    doubled = [name for counts in (images, captions) for name, count in counts.items() if count > 1]
    wrong = [f"{len(ranks):,} of {size:,} pairs"] if len(ranks) != size else []
    if doubled:
        wrong.append(f"{len(doubled)} images or captions twice, the first {doubled[0]}")
    if sorted(ranks) != list(range(1, len(ranks) + 1)):
        wrong.append("ranks have gaps or occur twice")
    return Finding(
        not wrong,
        "; ".join([*wrong, stage.remedy(store, found)]) if wrong else f"{size:,} pairs, none twice",
        {"pairs": len(ranks), "expected": size, "doubled": len(doubled)},
    )


@_of_readable_files
def no_pair_is_below_the_floor(store: Store, recipe: Recipe) -> Finding:
    """Every released pair reaches the floor, its weighted score is that of its scores, its source meets thresholds."""
    found = stage.manifest(store, recipe)
    floor = recipe.selection.floor
    below = wrong = 0
    sources: Counter[str] = Counter()
    for part in stage.rows(store, found, ["source", "clip_score", "ssim", "weighted_score"]):
        for row in part.to_pylist():
            sources[row["source"]] += 1
            expected = row["clip_score"] + recipe.selection.weight * row["ssim"]
            wrong += not abs(row["weighted_score"] - expected) <= 1e-12
            below += any(bound is not None and not row[score] >= bound for score, bound in floor.model_dump().items())
    known = {source.name for source in recipe.sources}
    failing = [f"{name} is not in the recipe" for name in sources if name not in known]
    for name in sorted(known & sources.keys()):
        verdict = selection.verify_source(store, recipe, name)
        if not verdict.passed:
            failing.append(f"{name}: {verdict.summary}")
    passed = not (below or wrong or failing)
    summary = (
        f"{below} pairs below the floor, {wrong} with another weighted score, failing sources:"
        f" {'; '.join(failing) or 'none'}"
    )
    return Finding(
        passed,
        summary if passed else f"{summary}; {stage.remedy(store, found)}",
        {"below": below, "wrong": wrong, "failing_sources": len(failing)},
    )


@_of_readable_files
def formats_agree(store: Store, recipe: Recipe) -> Finding:
    """Files have the bytes and rows the content that were released; the LLaVA JSON holds the conversation of every row
    and no other; every image file holds the bytes of its row."""
    found = stage.manifest(store, recipe)
    path = stage.location(store, found)
    remedy = stage.remedy(store, found)
    if damage := stage.damage(store, path, found):
        return Finding(False, "; ".join([*damage, remedy]), {"damaged": len(damage)})
    try:
        entries = json.loads(store.get(f"{path}/llava/{llava.JSON_NAME}"))
        told = Counter(json.dumps(entry, sort_keys=True) for entry in entries)
    except (ValueError, TypeError) as error:
        return Finding(False, f"llava/{llava.JSON_NAME} is no list of conversations ({error}); {remedy}")
    extension = encoding.EXTENSIONS[recipe.generator.encoding.format]
    conversations = told.total()
    content = ContentHash()
    seen = 0
    wrong: list[str] = []

    def problem(row: dict[str, Any]) -> str:
        """What is wrong with a row's image file, empty if nothing."""
        file = f"llava/images/{llava.image_path(row['image_id'], extension)}"
        try:
            return "" if store.get(f"{path}/{file}") == row["image"]["bytes"] else f"{file} is another picture"
        except FileNotFoundError:
            return f"{file} is missing"

    with ThreadPoolExecutor(READERS) as pool:
        for part in stage.rows(store, found):
            content.add_table(stage.with_instructions(part, recipe))
            rows = part.to_pylist()
            seen += len(rows)
            wrong += filter(None, pool.map(problem, rows))
            for row in rows:
                record = llava.record(
                    row, instructions=recipe.release.instructions, seed=recipe.seed, extension=extension
                )
                expected = json.dumps(record, sort_keys=True)
                if not told[expected]:
                    wrong.append(f"image {row['image_id']} has another conversation or none")
                told[expected] -= 1
    surplus = sum(count for count in told.values() if count > 0)
    if surplus:
        wrong.insert(0, f"llava/{llava.JSON_NAME} has {surplus} conversations of no row")
    if content.hexdigest != found["content_hash"]:
        wrong.insert(0, f"the rows' content hash is {content.hexdigest}")
    return Finding(
        not wrong,
        "; ".join([*wrong[:5], remedy]) if wrong else f"{seen:,} rows, conversations and image files agree",
        {"rows": seen, "conversations": conversations, "wrong": len(wrong)},
    )
