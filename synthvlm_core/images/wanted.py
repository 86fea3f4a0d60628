"""Which images are wanted, which are stored, which count: the tables that the stage decides on.

Belongs here: reading stored rows without their pictures, attempts, what counts and its numbers. Does not belong here:
drawing (drawing.py), the order of drawing and the manifest (synthetic.py).

The image of (caption, k) is its first healthy attempt; unhealthy ones stay stored, as evidence and so that nobody draws
them again. A refused caption is not asked for again under another attempt: the words were refused, not the picture.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from synthvlm_core import hashing
from synthvlm_core.parts.generator import Generator
from synthvlm_core.store.records import FILTERED_CAPTIONS
from synthvlm_core.store.shards import DamagedShard, Folder
from synthvlm_core.store.sql import Relation, Scratch

READERS = 8
"""Shards looked into at once: on a bucket each costs several round trips and few bytes."""
_SHARDS_AHEAD = 64
"""Shards whose rows may wait in memory."""
_NARROW = ("image_id", "caption_id", "k", "attempt", "health", "prompt_truncated", "image.path")
_HASH_LENGTH = 64

STORED = pa.schema(
    [
        ("shard", pa.string()),
        ("image_id", pa.string()),
        ("caption_id", pa.string()),
        ("k", pa.int32()),
        ("attempt", pa.int32()),
        ("health", pa.string()),
        ("prompt_truncated", pa.bool_()),
        ("path", pa.string()),
        ("picture_hash", pa.string()),
    ]
)
"""A stored image without its picture: `path` and `picture_hash`, the SHA-256 of its bytes, are null if refused."""


class State:
    """What is known of a source's images, without any picture.

    Attributes:
        captions: (caption_id, text) that are kept.
        stored: rows of the shards taken in so far, in the columns of `STORED`.
        relevant: those for kept captions, k and attempts within the recipe, each image id once.
        counting: of these the first healthy attempt of every caption and k.
    """

    def __init__(self, scratch: Scratch, generator: Generator, captions: Iterable[pa.Table]) -> None:
        self.scratch = scratch
        self._images, self._attempts = generator.images_per_caption, generator.health.max_attempts
        texts = pa.schema([FILTERED_CAPTIONS.schema.field(name) for name in ("caption_id", "text")])
        self.captions = scratch.load(texts, captions)
        self.stored = scratch.load(STORED, [])
        self.relevant = self.counting = self.stored
        self._judge()

    def take(self, folder: Folder, shards: Sequence[str], *, repair: bool = False) -> None:
        """Take in the rows of some shards, of which few bytes are read.

        Args:
            repair: set a damaged shard aside instead of raising.

        Raises:
            DamagedShard: if a shard is gone or not readable.
        """
        self.scratch.add(self.stored, _narrow(folder, shards, repair))
        self._judge()

    def wanted(self) -> Relation:
        """(caption_id, text, k, attempt) to draw next: for each caption and k without a healthy image its next attempt,
        if there is one."""
        return self.scratch.create(
            f"""
            with tried as (
                select caption_id, k, max(attempt) + 1 as next, bool_or(health in ('ok', 'refused')) as done
                from {self.relevant}
                group by caption_id, k
            ), pairs as (
                select caption_id, text, k::integer as k
                from {self.captions} cross join range({self._images}) as numbers(k)
            )
            select caption_id, text, k, coalesce(next, 0)::integer as attempt
            from pairs left join tried using (caption_id, k)
            where not coalesce(done, false) and coalesce(next, 0) < {self._attempts}
            """
        )

    def outcome(self) -> dict[str, int]:
        """Of the images wanted: how many there are, are healthy, were given up, and are neither, `lost`."""
        names = ("wanted", "healthy", "given_up", "lost")
        counts = self.scratch.row(
            f"""
            with pairs as (
                select caption_id, k::integer as k
                from {self.captions} cross join range({self._images}) as numbers(k)
            ), tries as (
                select caption_id, k, bool_or(health = 'ok') as healthy,
                    count(*) >= {self._attempts} or bool_or(health = 'refused') as over
                from {self.relevant}
                group by caption_id, k
            )
            select count(*), count(*) filter (where healthy), count(*) filter (where not healthy and over),
                count(*) filter (where healthy is null or not (healthy or over))
            from pairs left join tries using (caption_id, k)
            """
        )
        return dict(zip(names, counts, strict=True))

    def counts(self) -> dict[str, Any]:
        """Numbers and content hash of what counts, as a manifest tells them."""
        attempts, unhealthy, refused, redrawn = self.scratch.row(
            f"""
            select count(*), count(*) filter (where health <> 'ok'), count(*) filter (where health = 'refused'),
                count(*) filter (where attempt > 0)
            from {self.relevant}
            """
        )
        captions, healthy = self.scratch.count(self.captions), self.scratch.count(self.counting)
        wanted = captions * self._images
        return {
            "captions": captions,
            "images_per_caption": self._images,
            "wanted": wanted,
            "healthy": healthy,
            "given_up": wanted - healthy,
            "attempts": attempts,
            "unhealthy": unhealthy,
            "unhealthy_share": unhealthy / attempts if attempts else 0.0,
            "refused": refused,
            "redrawn": redrawn,
            "truncated_prompts": self.scratch.row(f"select count(*) from {self.counting} where prompt_truncated")[0],
            "content_hash": self.content_hash(),
        }

    def content_hash(self) -> str:
        """Hash over the images that count, each by its id and the hash of its bytes."""
        return hashing.content_hash(self.scratch.tables(f"select image_id, picture_hash from {self.counting}"))

    def shards(self) -> list[dict[str, Any]]:
        """Shards that hold a relevant image: name and how many of its images count, in the order of names."""
        found = self.scratch.rows(
            f"""
            select relevant.shard, count(counting.image_id)
            from {self.relevant} as relevant left join {self.counting} as counting using (image_id)
            group by relevant.shard
            order by relevant.shard
            """
        )
        return [{"name": name, "counting": counting} for name, counting in found]

    def _judge(self) -> None:
        """Make `relevant` and `counting` follow `stored`."""
        for old in {self.relevant, self.counting} - {self.stored}:
            self.scratch.drop(old)
        # of an image id the first shard by name: which of two writers a reader meets must not depend on timing
        self.relevant = self.scratch.create(
            f"""
            select *
            from {self.stored} semi join {self.captions} using (caption_id)
            where k < {self._images} and attempt < {self._attempts}
            qualify row_number() over (partition by image_id order by shard) = 1
            """
        )
        self.counting = self.scratch.create(
            f"""
            select *
            from {self.relevant}
            where health = 'ok'
            qualify row_number() over (partition by caption_id, k order by attempt) = 1
            """
        )


def pictures(scratch: Scratch, folder: Folder, wanted: Relation) -> Iterator[pa.Table]:
    """Whole rows of some images with a column `shard`, one shard in memory at a time, no shard without any.

    Args:
        wanted: relation with shard and image_id.

    Raises:
        DamagedShard: naming shard and remedy.
    """
    for (shard,) in scratch.rows(f"select distinct shard from {wanted} order by shard"):
        ids = pa.array([row[0] for row in scratch.rows(f"select image_id from {wanted} where shard = ?", [shard])])
        rows = folder.read(shard)
        rows = rows.filter(pc.is_in(rows["image_id"], value_set=ids.cast(pa.string())))
        yield rows.append_column("shard", _repeated(shard, rows.num_rows))


def _narrow(folder: Folder, shards: Sequence[str], repair: bool) -> Iterator[pa.Table]:
    """The rows of some shards in the columns of `STORED`."""
    with ThreadPoolExecutor(READERS) as pool:
        for start in range(0, len(shards), _SHARDS_AHEAD):  # a pool's map starts all at once
            some = shards[start : start + _SHARDS_AHEAD]
            for name, rows in zip(some, pool.map(lambda name: _rows_of(folder, name, repair), some), strict=True):
                if rows is not None:
                    hashes = pc.utf8_slice_codeunits(rows["path"], 0, _HASH_LENGTH)
                    rows = rows.append_column("picture_hash", hashes)
                    yield rows.append_column("shard", _repeated(name, rows.num_rows)).select(STORED.names)


def _rows_of(folder: Folder, name: str, repair: bool) -> pa.Table | None:
    """A shard's rows without the pictures; None if it was damaged and is set aside now."""
    try:
        return folder.narrow(name, _NARROW)
    except DamagedShard:
        if not repair:
            raise
        # sound after all: another run has just redone it
        return folder.narrow(name, _NARROW) if folder.is_sound(name) else None


def _repeated(value: str, times: int) -> pa.Array:
    return pa.array([value] * times, pa.string())
