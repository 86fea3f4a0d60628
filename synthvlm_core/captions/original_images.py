"""The original images of captions: what is stored of them, and having what is missing.

Belongs here: which images are asked for, what became of each, their pictures for rules to look at. Does not belong
here: the ways to have them (originals/), comparing them with captions (rules/).

    original_images/<definition>/source=<name>/<shard>.parquet      append-only, keyed by caption id and original id

A row is what became of one image: its bytes, or why there are none. Whoever gave none is not asked again; files are,
once they have changed. Bytes are kept as they came: they are the evidence for what was decided by them.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from synthvlm_core import engine, hashing
from synthvlm_core.captions.merged import Captions, Chosen
from synthvlm_core.captions.places import numbers
from synthvlm_core.parts import originals as parts
from synthvlm_core.parts.originals import NO_ADDRESS, OK, Wanted
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import definition, named
from synthvlm_core.progress import Progress, silent
from synthvlm_core.store.measurements import Measure, Measurement
from synthvlm_core.store.records import ORIGINAL_IMAGES
from synthvlm_core.store.rows import Rows
from synthvlm_core.store.shards import DamagedShard, Folder

log = logging.getLogger(__name__)

VERSION = 1
SHARD_ROWS = 2_000
"""Images asked for together."""
_PART_BYTES = 256 << 20
"""Most bytes of pictures handed over together."""
_NARROW = ["caption_id", "original_id", "outcome", "asked"]


def measurement(section: parts.Originals, source: str, context: Context) -> Measurement:
    """Having the images of a source; it takes rows of the table without `outcome` and `image`."""
    values = {"by": named(section, leave_out=("files",)), "version": section.version}
    return Measurement(
        table=ORIGINAL_IMAGES,
        definition=definition(ORIGINAL_IMAGES.name, VERSION, values),
        load=partial(_load, section, source, context),
        shard_rows=SHARD_ROWS,
        row_group_rows=64,
        cost=2,
    )


def _load(section: parts.Originals, source: str, context: Context) -> Measure:
    find = section.load(source, context)

    def measure(rows: pa.Table, tick: Callable[[int], None]) -> pa.Table:
        wanted = [
            Wanted(row["image_url"], row["image_uid"]) for row in rows.select(["image_url", "image_uid"]).to_pylist()
        ]
        told = find(wanted, tick)
        rows = rows.filter(pa.array([outcome is not None for outcome in told]))
        outcomes = [outcome for outcome in told if outcome is not None]
        found = {
            "outcome": pa.array([outcome.word for outcome in outcomes], pa.string()),
            "image": pa.array(
                [outcome.data and {"bytes": outcome.data, "path": None} for outcome in outcomes],
                ORIGINAL_IMAGES.schema.field("image").type,
            ),
        }
        return pa.table({name: found[name] if name in found else rows[name] for name in ORIGINAL_IMAGES.names})

    return measure


class Originals(Protocol):
    """What is known of the original images of some captions."""

    ids: NDArray[np.uint64]
    """By place: the first half of the original id, 0 where there is no address or it was never needed."""

    @property
    def there(self) -> Chosen:
        """The captions with a picture."""


class KeptOriginals:
    """What the rows of filtered_captions say of their original images."""

    def __init__(self, captions: Captions) -> None:
        self.ids: NDArray[np.uint64] = np.zeros(captions.rows, np.uint64)
        self.there: Chosen = np.zeros(captions.rows, np.bool_)
        for places, table in captions.shards(["original_image", "original_id"]):
            self.there[places] = pc.equal(table["original_image"], OK).fill_null(False)
            self.ids[places] = halves(table["original_id"])


class OriginalImages:
    """The original images of the captions of a source, as far as they were asked for: 10 bytes of memory a row."""

    def __init__(self, captions: Captions, source: str, folder: Folder, asked: str) -> None:
        """
        Args:
            folder: where they are stored.
            asked: what would be asked now, as `Originals.asked`.
        """
        self._captions, self._source, self._folder, self._asked = captions, source, folder, asked
        self.ids: NDArray[np.uint64] = np.zeros(captions.rows, np.uint64)
        self.outcomes: NDArray[np.uint16] = np.zeros(captions.rows, np.uint16)
        """By place: 0 where nothing is known, else the place in `words`, from 1."""
        self.words = [OK, NO_ADDRESS]

    @property
    def there(self) -> Chosen:
        """The captions with a picture."""
        return np.asarray(self.outcomes == 1)

    def look(self, wanted: Chosen) -> None:
        """Find out what is stored of the images of some captions; few bytes are read."""
        for places, table in self._captions.shards(["image_url", "image_uid"]):
            chosen = wanted[places] & (self.outcomes[places] == 0)
            if chosen.any():
                where = np.flatnonzero(chosen) + places.start
                ids = original_ids(self._source, table.filter(pa.array(chosen)))
                self.ids[where] = halves(ids)
                self.outcomes[where[np.asarray(pc.is_null(ids))]] = 2
        self._take(self._folder.names())

    def have(self, wanted: Chosen, what: Measurement, *, shard_rows: int, progress: Progress = silent) -> int:
        """Ask for the images of some captions of which nothing is known. Returns how many were asked for."""
        self.look(wanted)
        asked = 0
        while total := int(np.count_nonzero(missing := wanted & (self.outcomes == 0))):
            requests = self._requests(missing, min(shard_rows, what.shard_rows))
            shards = engine.measure(what, self._folder, requests, total=total, progress=progress)
            self._take([shard.name for shard in shards])
            left = int(np.count_nonzero(wanted & (self.outcomes == 0)))
            if left == total:
                raise DamagedShard(f"{left} original images were lost while they were read; run again")
            asked += total - left
        return asked

    def pictures(self, chosen: Chosen, *, rows: int) -> Iterator[pa.Table]:
        """`caption_id`, `original_id`, `text` and `image` of some captions with a picture, one shard in memory at a
        time, bytes proved.

        Raises:
            DamagedShard: if one is damaged; it is set aside, and the next run has its pictures again.
        """
        left, held, size = chosen & self.there, Rows(), 0
        for name, places, _ in self._found(self._folder.names()):
            if not left[places[places >= 0]].any():
                continue
            table = self._folder.proved(name, ["caption_id", "original_id", "text", "outcome", "image"])
            if table is None:
                continue
            good = np.flatnonzero((places >= 0) & left[places] & np.asarray(pc.equal(table["outcome"], OK)))
            good = good[np.sort(np.unique(places[good], return_index=True)[1])]
            left[places[good]] = False
            held.add(table.take(pa.array(good)).select(["caption_id", "original_id", "text", "image"]))
            size += table.nbytes
            while len(held) >= rows or (len(held) and size >= _PART_BYTES):
                yield held.take(rows)
                size = 0
        if len(held):
            yield held.take(rows)
        if lost := int(np.count_nonzero(left)):
            raise DamagedShard(f"{lost} original images are damaged and set aside; run again to have them anew")

    def said(self) -> dict[str, int]:
        """How many captions have which outcome."""
        counts = np.bincount(self.outcomes, minlength=len(self.words) + 1)[1:].tolist()
        return {word: count for word, count in zip(self.words, counts, strict=True) if count}

    def columns(self, places: slice, rows: pa.Table) -> tuple[pa.Array, pa.Array]:
        """Outcome and original id of the rows at some places, both null where no image was asked for.

        Args:
            rows: these, with `image_url` and `image_uid`.
        """
        outcomes = pa.array([None, *self.words], pa.string()).take(pa.array(self.outcomes[places]))
        return outcomes, pc.if_else(outcomes.is_valid(), original_ids(self._source, rows), pa.scalar(None, pa.string()))

    def _requests(self, missing: Chosen, rows: int) -> Iterator[pa.Table]:
        for table in self._captions.tables(missing, ["caption_id", "text", "image_url", "image_uid"], rows=rows):
            asked = pa.repeat(pa.scalar(self._asked), table.num_rows)
            yield table.append_column("original_id", original_ids(self._source, table)).append_column("asked", asked)

    def _take(self, names: Sequence[str]) -> None:
        """Learn what shards say; a picture counts more than its absence."""
        for _, places, table in self._found(names):
            for word in pc.unique(table["outcome"]).to_pylist():
                if word not in self.words:
                    self.words.append(word)
                chosen = np.asarray(pc.equal(table["outcome"], word)) & (places >= 0)
                if word != OK:
                    chosen &= np.asarray(pc.equal(table["asked"], self._asked)) & (self.outcomes[places] == 0)
                self.outcomes[places[chosen]] = self.words.index(word) + 1

    def _found(self, names: Sequence[str]) -> Iterator[tuple[str, NDArray[np.int64], pa.Table]]:
        """Name, places and narrow columns of shards, -1 where a row is of no caption or of another address."""
        now = ""

        def tables() -> Iterator[pa.Table]:
            nonlocal now
            for now in names:
                if (table := self._narrow(now)) is not None:
                    yield table

        for places, table in self._captions.places.find(tables):
            yield now, np.where(self.ids[places] == halves(table["original_id"]), places, -1), table

    def _narrow(self, name: str) -> pa.Table | None:
        """What a shard says beside its pictures; None if it was damaged and is set aside now."""
        try:
            return self._folder.narrow(name, _NARROW)
        except DamagedShard:
            # sound after all: another run has just redone it
            return self._folder.narrow(name, _NARROW) if self._folder.is_sound(name) else None


def original_ids(source: str, rows: pa.Table) -> pa.StringArray:
    """Original id of rows with `image_url` and `image_uid`: the hash of the address, else of the uid; null without."""
    url, uid = (rows[name].cast(pa.string()).combine_chunks() for name in ("image_url", "image_uid"))
    where = pc.coalesce(pc.binary_join_element_wise("url", url, " "), pc.binary_join_element_wise("uid", uid, " "))
    ids = hashing.caption_ids(source, where.fill_null(""))
    return pc.if_else(where.is_valid(), ids, pa.scalar(None, pa.string()))


def halves(ids: "pa.Array | pa.ChunkedArray") -> NDArray[np.uint64]:
    """The first half of each id, 0 for null."""
    chunked = ids if isinstance(ids, pa.ChunkedArray) else pa.chunked_array([ids])
    found, sound = numbers(chunked)
    return np.where(sound, found[:, 0], np.uint64(0))
