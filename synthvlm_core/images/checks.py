"""What must hold for stored images, found out from the stored files alone.

Belongs here: properties of synthetic_images, each as a Finding with its numbers. Does not belong here: repeating a
number that the stage itself reported, whether a picture shows its caption (scoring), or what happens when a property
fails (synthvlm_assets).
"""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core import hashing
from synthvlm_core.decoding import UndecodableImage, decode
from synthvlm_core.findings import Finding, Sample
from synthvlm_core.hashing import ContentHash
from synthvlm_core.images.drawing import image_id
from synthvlm_core.images.encoding import file_name
from synthvlm_core.images.health import health
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.generator import Encoding, Generator, seed_of
from synthvlm_core.store import sql
from synthvlm_core.store.shards import DamagedShard

LEAST_LOOKED_AT = 500
"""Pictures that a check decodes at least: enough to meet, with 99 % certainty, damage that touches 1 % of them."""
SHOWN = 5
"""Wrong images, and shards to delete, that a summary names."""
LOSSY_TOLERANCE = 0.8
"""A lossy picture may lie just below a bound on spread that its pixels passed: this share of the bound is asked."""


def images_add_up(stage: SyntheticImages) -> Finding:
    """Every kept caption has each of its K images exactly once, or was refused, or has as many unhealthy attempts as
    the recipe allows."""
    told = stage.manifest
    with sql.scratch() as scratch:
        counted = stage.state(scratch).outcome()
    wrong = [
        f"{counted[name]} {name}, manifest says {told[name]}"
        for name in ("wanted", "healthy", "given_up")
        if counted[name] != told[name]
    ]
    if counted["lost"]:
        wrong.append(f"{counted['lost']} images neither stored nor given up")
    if wrong:
        wrong.append(stage.remedy)
    return Finding(
        not wrong,
        "; ".join(wrong) or "{wanted} images wanted = {healthy} healthy + {given_up} given up".format(**counted),
        dict(counted),
    )


def images_decode(stage: SyntheticImages) -> Finding:
    """Images that count have the recipe's size in their columns; those sampled, evenly over the shards and always the
    same, decode to it and are healthy."""
    generator = stage.recipe.generator
    size = (generator.width, generator.height)
    sample = Sample(stage.manifest["healthy"], stage.recipe.checks.share, LEAST_LOOKED_AT)
    step = max(1, sample.total // max(1, sample.size))
    wrong: list[str] = []
    bad: dict[str, None] = {}
    images = decoded = 0
    for shard, rows in _by_shard(stage):
        before = len(wrong)
        for row in rows.select(["image_id", "width", "height"]).to_pylist():
            if (row["width"], row["height"]) != size:
                wrong.append(f"image {row['image_id']} is {row['width']} x {row['height']}, not {size[0]} x {size[1]}")
        for index in range(-images % step, rows.num_rows, step):
            decoded += 1
            if problem := _problem(rows["image"][index].as_py(), generator):
                wrong.append(f"image {rows['image_id'][index].as_py()} {problem}")
        images += rows.num_rows
        if len(wrong) > before:
            bad[shard] = None
    return Finding(
        not wrong,
        "; ".join([*wrong[:SHOWN], _redraw(stage, bad)])
        if wrong
        else f"{images} images of {size[0]} x {size[1]} pixels; decoded {sample.told('of them')}",
        {"images": images, "decoded": decoded, "power": sample.power, "wrong": len(wrong)},
    )


def unhealthy_share_is_within_limit(stage: SyntheticImages) -> Finding:
    """Of all images drawn for the captions, redrawn and refused ones included, no more are unhealthy than the recipe
    allows."""
    with sql.scratch() as scratch:
        drawn, unhealthy = scratch.row(
            f"select count(*), count(*) filter (where health <> 'ok') from {stage.state(scratch).relevant}"
        )
    share = unhealthy / drawn if drawn else 0.0
    limit = stage.recipe.generator.health.max_unhealthy_share
    return Finding(
        share <= limit,
        f"{unhealthy} of {drawn} images unhealthy ({share:.2%}), at most {limit:.2%} allowed",
        {"drawn": drawn, "unhealthy": unhealthy, "share": share, "maximum": limit},
    )


def ids_and_seeds_are_sound(stage: SyntheticImages) -> Finding:
    """Of every image that counts, caption id, image id and seed are the hashes of what they stand for, and the source
    is the partition's."""
    images = wrong = 0
    first = ""
    bad: dict[str, None] = {}
    columns = ["image_id", "caption_id", "source", "text", "k", "attempt", "seed"]
    for shard, rows in _by_shard(stage):
        images += rows.num_rows
        expected = hashing.caption_ids(stage.partition, rows["text"]).to_pylist()
        for row, caption_id in zip(rows.select(columns).to_pylist(), expected, strict=True):
            sound = (
                row["caption_id"] == caption_id
                and row["source"] == stage.partition
                and row["image_id"] == image_id(caption_id, row["k"], row["attempt"], stage.definition)
                and row["seed"] == seed_of(stage.recipe.seed, caption_id, row["k"], row["attempt"])
            )
            if not sound:
                wrong += 1
                bad[shard] = None
                first = first or f", the first in image {row['image_id']}"
    told = f"ids or seed wrong in {wrong} of {images} images{first}"
    return Finding(not wrong, f"{told}; {_redraw(stage, bad)}" if wrong else told, {"images": images, "wrong": wrong})


def shards_are_undamaged(stage: SyntheticImages) -> Finding:
    """Every shard has the bytes that its name promises, every picture those that its path promises, only refused
    captions have none, and together they are the content that the manifest declares."""
    names = stage.shard_names
    damaged: list[str] = []
    for name in names:
        try:
            rows = stage.folder.read(name)
        except DamagedShard as damage:
            damaged.append(str(damage))
        else:
            if misnamed := _misnamed(rows, stage.recipe.generator.encoding):
                damaged.append(f"{misnamed[0]}; {_redraw(stage, [name])}")
    if not damaged:
        content = ContentHash()
        for rows in stage.counting_images():
            hashes = pc.utf8_slice_codeunits(pc.struct_field(rows["image"], "path"), 0, 64)
            content.add_table(pa.table({"image_id": rows["image_id"], "picture_hash": hashes}))
        if content.hexdigest != stage.manifest["content_hash"]:
            where = stage.store.unstrip(stage.manifest_path)
            damaged.append(f"the images that count are not those of {where}; {stage.remedy}")
    return Finding(
        not damaged,
        "; ".join(damaged[:SHOWN]) or f"{len(names)} shards",
        {"shards": len(names), "damaged": len(damaged)},
    )


def _by_shard(stage: SyntheticImages) -> Iterator[tuple[str, pa.Table]]:
    """The images that count, with the name of the shard in which they lie."""
    with sql.scratch() as scratch:
        for rows in stage.pictures(scratch, stage.state(scratch).counting):
            if rows.num_rows:
                yield rows["shard"][0].as_py(), rows


def _redraw(stage: SyntheticImages, names: Iterable[str]) -> str:
    """What to do about shards that are what their names promise, and wrong: drawing anew finds them as they are."""
    shards = [stage.store.unstrip(f"{stage.folder.path}/{name}") for name in names]
    return f"delete {', '.join(shards[:SHOWN])} and {stage.remedy}"


def _misnamed(rows: pa.Table, encoding: Encoding) -> list[str]:
    """Pictures whose path is not the hash of their bytes, or that are there or gone against what `health` says."""
    return [
        f"the picture of image {row['image_id']} is not the one that was stored"
        for row in rows.select(["image_id", "image", "health"]).to_pylist()
        if (row["image"] is None) != (row["health"] == "refused")
        or (row["image"] is not None and row["image"]["path"] != file_name(row["image"]["bytes"], encoding.format))
    ]


def _problem(image: dict[str, Any] | None, generator: Generator) -> str:
    """What is wrong with a stored picture, empty if nothing."""
    if image is None:
        return "has no picture"
    try:
        picture = decode(image["bytes"])
    except UndecodableImage as error:
        return f"does not decode: {error}"
    if picture.size != (generator.width, generator.height):
        return f"decodes to {picture.width} x {picture.height} pixels"
    lossless = generator.encoding.format == "png" or generator.encoding.quality is None
    found = health(np.asarray(picture), generator.health.min_std * (1.0 if lossless else LOSSY_TOLERANCE))
    return "" if found == "ok" else f"is {found}"
