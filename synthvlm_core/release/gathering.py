"""The rows of a set: what a selection took, joined with what its images are and where their pictures lie.

Belongs here: the joins, the content hash of the rows, bringing pictures into the order of ranks. Does not belong here:
what is selected (selection/) and what becomes of the rows (released.py).

Only ids, numbers and texts are sorted in the scratch database. Pictures never enter it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from synthvlm_core.errors import NotMaterialized
from synthvlm_core.hashing import ContentHash
from synthvlm_core.progress import Progress
from synthvlm_core.release.instructions import instruction
from synthvlm_core.release.spool import Spool
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.selection.selection import Ranked
from synthvlm_core.store.records import Table
from synthvlm_core.store.shards import DamagedShard
from synthvlm_core.store.sql import Relation, Scratch

BATCH_ROWS = 64
"""Rows with pictures in memory at once."""


@dataclass(frozen=True)
class Gathered:
    """The rows of a set, while its scratch database lives."""

    scratch: Scratch
    rows: Relation
    """Columns of the set's table but `image`, and shard, picture_hash and path of the picture."""
    table: Table
    scored: Sequence[ScoredPairs]

    @property
    def count(self) -> int:
        """How many rows there are."""
        return self.scratch.count(self.rows)

    def content_hash(self, instructions: Sequence[str], seed: int) -> str:
        """Hash over the rows with pictures and human turns, as they will be stored; reads no picture."""
        columns = ", ".join(name for name in self.table.names if name != "image")
        content = ContentHash()
        query = f"""
            select {columns}, picture_hash as "image.bytes", path as "image.path"
            from {self.rows}
        """
        for rows in self.scratch.tables(query):
            content.add_table(with_turns(rows, instructions, seed))
        return content.hexdigest

    def fetch(self, pictures: Spool, progress: Progress) -> None:
        """Put the picture of every row on local disk; each image shard that holds one is read once.

        Raises:
            DamagedShard: if a shard is damaged, or holds another picture than the one that was scored.
        """
        done, total = 0, self.count
        for scored in self.scored:
            wanted = self.scratch.create(
                f"select shard, image_id from {self.rows} where source = ?", [scored.partition]
            )
            for part in scored.images.pictures(self.scratch, wanted):
                progress("gather pictures", done, total)
                ids = self.scratch.create(part.select(["image_id"]))
                found = self.scratch.rows(
                    f"""
                    select image_id, rank, picture_hash
                    from {self.rows}
                    semi join {ids} using (image_id)
                    """
                )
                self.scratch.drop(ids)
                places = {image_id: (rank, picture_hash) for image_id, rank, picture_hash in found}
                for image_id, image in zip(part["image_id"].to_pylist(), part["image"].to_pylist(), strict=True):
                    rank, picture_hash = places[image_id]
                    if hashlib.sha256(image["bytes"]).hexdigest() != picture_hash:
                        raise DamagedShard(
                            f"image {image_id} of source {scored.partition!r} is another picture than its path says: "
                            "materialize synthetic_images and scored_pairs again"
                        )
                    pictures.put(rank, image["bytes"])
                    done += 1
        if missing := pictures.missing:
            raise NotMaterialized(
                f"the picture of rank {missing[0]} and {len(missing) - 1} more are scored but not stored: materialize "
                "synthetic_images again"
            )

    def batches(self, pictures: Spool) -> Iterator[pa.Table]:
        """The rows by rank in the columns of the set's table, `BATCH_ROWS` at a time."""
        columns = [name for name in self.table.names if name != "image"]
        for rows in self.scratch.tables(
            f"select {', '.join(columns)}, path from {self.rows} order by rank", rows=BATCH_ROWS
        ):
            data = pa.array([pictures.get(rank) for rank in rows["rank"].to_pylist()], pa.binary())
            paths = rows["path"].combine_chunks().cast(pa.string())
            image = pa.StructArray.from_arrays([data, paths], ["bytes", "path"])
            yield rows.append_column("image", image).select(self.table.names).cast(self.table.schema)


def gather(scratch: Scratch, ranked: Ranked, scored: Sequence[ScoredPairs], table: Table) -> Gathered:
    """Join a selection with its images.

    Raises:
        NotMaterialized: if an image is scored but not stored.
        DamagedShard: if a shard of images is gone or not readable.
    """
    chosen = scratch.load(ranked.schema, ranked.tables())
    places = [_places(scratch, one, chosen) for one in scored]
    everywhere = " union all ".join(f"select * from {place}" for place in places)
    rows = scratch.create(
        f"""
        select *
        from {chosen}
        join ({everywhere}) using (image_id)
        """
    )
    missing = scratch.rows(f"select image_id from {chosen} anti join {rows} using (image_id) order by image_id limit 1")
    if missing:
        raise NotMaterialized(
            f"image {missing[0][0]} is scored but not stored: materialize synthetic_images again, then scored_pairs"
        )
    return Gathered(scratch, rows, table, scored)


def with_turns(rows: pa.Table, instructions: Sequence[str], seed: int) -> pa.Table:
    """Rows with their human turns: all that the content hash is over."""
    drawn = [instruction(instructions, seed, caption_id) for caption_id in rows["caption_id"].to_pylist()]
    return rows.append_column("instruction", pa.array(drawn, pa.string()))


def _places(scratch: Scratch, scored: ScoredPairs, chosen: Relation) -> Relation:
    """Image id, shard, picture hash and path, and what draws the image again, of a source's images that were taken."""
    images = scored.images
    mine = scratch.create(
        f"""
        select image_id, shard, k, attempt, picture_hash, path
        from {images.state(scratch).counting}
        semi join {chosen} using (image_id)
        """
    )
    seeds = scratch.create("select '' as shard, '' as image_id, 0::bigint as seed where false")
    for (shard,) in scratch.rows(f"select distinct shard from {mine} order by shard"):
        narrow = images.folder.narrow(shard, ["image_id", "seed"])
        scratch.add(seeds, [narrow.append_column("shard", pa.array([shard] * narrow.num_rows, pa.string()))])
    return scratch.create(
        f"""
        select {mine}.*, seed, ? as definition
        from {mine}
        join {seeds} using (shard, image_id)
        """,
        [images.definition],
    )
