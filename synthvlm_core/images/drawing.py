"""Requests to rows: draw, judge, encode. The measurement behind synthetic_images.

Belongs here: what one shard's worth of requests becomes, and on what it was drawn. Does not belong here: how a picture
comes about (generators/), which are requested (wanted.py), what makes one unhealthy (health.py).
"""

import functools
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

from synthvlm_core import hashing
from synthvlm_core.decoding import decode
from synthvlm_core.images import encoding
from synthvlm_core.images.health import health
from synthvlm_core.parts.generator import Drawer, Drawn, Generator, Request
from synthvlm_core.parts.part import Context
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.objects import DamagedObject
from synthvlm_core.store.records import SYNTHETIC_IMAGES
from synthvlm_core.store.shards import Folder

log = logging.getLogger(__name__)

SHARD_ROWS = 256
"""Images drawn between two writes: what a kill can cost."""
ROW_GROUP_ROWS = 64
"""A reader of one picture unpacks this many at most."""


def image_id(caption_id: str, k: int, attempt: int, definition: str) -> str:
    """Id of an image: caption, k, attempt and definition, of which the encoding is a part."""
    return hashing.digest(*(str(part).encode() for part in (caption_id, k, attempt, definition)))


def measurement(generator: Generator, context: Context, source: str, definition: str, folder: Folder) -> Measurement:
    """Images of a source: it takes rows of caption_id, text, k and attempt.

    Args:
        definition: what an image depends on apart from these.
        folder: where the images lie; what they are drawn on is put down beside them.
    """
    return Measurement(
        table=SYNTHETIC_IMAGES,
        definition=definition,
        load=partial(_load, generator, context, source, definition, folder),
        shard_rows=SHARD_ROWS,
        row_group_rows=ROW_GROUP_ROWS,
        cost=1,
    )


def environments(folder: Folder) -> list[Any]:
    """On what the shards of a folder were drawn, in the order of hashes."""
    path = f"{folder.path}/environments"
    found = []
    for name in folder.store.files(path, ".json"):
        try:
            found.append(folder.store.get_json(f"{path}/{name}", dict[str, Any]))
        except DamagedObject as damage:  # what was drawn stands; it is only not known any more on what
            log.warning("%s", damage)
    return found


def _load(generator: Generator, context: Context, source: str, definition: str, folder: Folder) -> Measure:
    drawer = _drawer(generator, context)
    told = drawer.description
    folder.store.put_json(f"{folder.path}/environments/{hashing.of_json(told)}.json", told)

    def draw(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        requests = [Request(**row) for row in rows.select(["caption_id", "text", "k", "attempt"]).to_pylist()]
        found: list[dict[str, Any]] = []
        for start in range(0, len(requests), generator.batch_size):
            # of a batch only the encoded bytes outlive it
            batch = drawer.draw(requests[start : start + generator.batch_size])
            found += [_row(drawn, generator, source, definition) for drawn in batch]
            tick(len(found))
        return pa.Table.from_pylist(found, SYNTHETIC_IMAGES.schema)

    return draw


@functools.lru_cache(maxsize=1)
def _drawer(generator: Generator, context: Context) -> Drawer:
    """The generator, loaded; the last one stays so for the next source."""
    return generator.load(context)


def _row(drawn: Drawn, generator: Generator, source: str, definition: str) -> dict[str, Any]:
    request = drawn.request
    image, width, height = None, 0, 0
    if drawn.pixels is not None:
        data = encoding.encode(encoding.to_bytes(drawn.pixels), generator.encoding)
        width, height = decode(data).size  # what was written is read once before it is stored
        image = {"bytes": data, "path": encoding.file_name(data, generator.encoding.format)}
    return {
        "image_id": image_id(request.caption_id, request.k, request.attempt, definition),
        "caption_id": request.caption_id,
        "source": source,
        "text": request.text,
        "k": request.k,
        "attempt": request.attempt,
        "seed": drawn.seed,
        "image": image,
        "width": width,
        "height": height,
        "prompt_tokens": drawn.prompt_tokens,
        "prompt_truncated": drawn.prompt_truncated,
        "health": health(drawn.pixels, generator.health.min_std),
    }
