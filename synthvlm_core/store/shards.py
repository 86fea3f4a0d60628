"""Tables of the store: Parquet shards that prove themselves, and sealed folders of them.

Belongs here: writing and reading rows whole, naming damage, older versions of a table. Does not belong here: the
columns (records.py), what rows mean (the stages), what is stored of what is wanted (engine.py).

A shard's name carries the SHA-256 of its bytes, so that a truncated, empty or altered shard is recognised without
any other file, and two writers of the same bytes meet on the same name.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from synthvlm_core.errors import Mendable
from synthvlm_core.findings import Finding
from synthvlm_core.hashing import ContentHash
from synthvlm_core.hashing import content_hash as tables_hash
from synthvlm_core.store.documents import Sealed
from synthvlm_core.store.objects import DamagedObject, Store
from synthvlm_core.store.records import Table
from synthvlm_core.store.rows import Rows

log = logging.getLogger(__name__)

SHARD_ROWS = 50_000
MANIFEST = "manifest.json"


class DamagedShard(Mendable):
    """A shard whose bytes are not what its name, schema or manifest promises; the message names it and the remedy."""


@dataclass(frozen=True)
class Shard:
    """One stored Parquet file, as read back after writing."""

    name: str
    rows: int
    size: int
    content_hash: str


@dataclass(frozen=True)
class Folder:
    """Where the shards of one table lie."""

    store: Store
    table: Table
    path: str
    made_by: str = ""
    """The stage that writes here, if it is not called as the table: it is what damage is mended by."""

    def put(self, rows: pa.Table, prefix: str = "", *, row_group_size: int | None = None) -> Shard:
        """Store rows as one shard and read it back.

        Args:
            rows: at least one row, in the table's columns.
            prefix: what the name starts with, for people who list the folder.
            row_group_size: most rows per row group, for tables whose rows are large; None leaves it to Parquet.

        Raises:
            DamagedShard: if what was read back is not what was written.
        """
        buffer = pa.BufferOutputStream()
        # no dictionary for ids and texts: they hardly repeat, and a dictionary of them costs memory on both sides
        pq.write_table(
            rows.cast(self.table.schema),
            buffer,
            compression="lz4",  # half the time of zstd on both sides, for captions of two thirds more bytes
            use_dictionary=[name for name in ("source", "origin") if name in self.table.names],
            row_group_size=row_group_size,
        )
        data = buffer.getvalue().to_pybytes()
        name = f"{prefix}{hashlib.sha256(data).hexdigest()[:32]}.parquet"
        self.store.put(f"{self.path}/{name}", data)
        try:
            stored = self.read(name)
        except DamagedShard:  # left by a crash of the file system or an intruder under this very name
            self.store.replace(f"{self.path}/{name}", data)
            stored = self.read(name)
        content = ContentHash()
        content.add_table(stored)
        return Shard(name, stored.num_rows, len(data), content.hexdigest)

    def read(self, name: str, columns: Sequence[str] | None = None) -> pa.Table:
        """The rows of a shard in today's columns, bytes checked against the name.

        Args:
            columns: the columns wanted, None for all.

        Raises:
            DamagedShard: naming shard, damage and remedy.
            NewerTable: if a later version of this software wrote it.
        """
        try:
            data = self.store.get(f"{self.path}/{name}")
        except FileNotFoundError:
            raise DamagedShard(self.damage(name, "is missing")) from None
        except DamagedObject as damage:
            raise DamagedShard(self.damage(name, "is a folder")) from damage
        if hashlib.sha256(data).hexdigest()[:32] != name.removesuffix(".parquet")[-32:]:
            raise DamagedShard(self.damage(name, f"has {len(data)} bytes that do not match the hash in its name"))
        try:
            parquet = pq.ParquetFile(pa.BufferReader(data))
            # of an older version a step may need columns that nobody asked for
            only = columns if self.table.is_current(parquet.schema_arrow) else None
            rows = self.table.upgrade(parquet.read(only), f"{self.path}/{name}", only=only)
        except (pa.ArrowException, KeyError) as error:
            raise DamagedShard(self.damage(name, f"is no {self.table.name} ({error})")) from error
        return rows if columns is None else rows.select(list(columns))

    def tables(self, names: Iterable[str], columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of some shards, one shard in memory at a time. Raises as `read`."""
        for name in names:
            yield self.read(name, columns)

    def narrow(self, name: str, columns: Sequence[str]) -> pa.Table:
        """Some columns of a shard whose other columns are large: few bytes are fetched, and so none are proved.

        Args:
            columns: names; `image.path` is a part of a struct, and comes as a column `path`.

        Raises:
            DamagedShard: naming shard, damage and remedy.
        """
        path = f"{self.path}/{name}"
        try:
            # on a bucket the default would read ahead, pictures and all; what is needed is asked for in few ranges
            options = {} if self.store.local else {"cache_type": "none"}
            with self.store.at(path), self.store.fs.open(path, "rb", **options) as file:
                parquet = pq.ParquetFile(file, pre_buffer=True)
                if self.table.is_current(parquet.schema_arrow):
                    wholes = {field.split(".")[0] for field in columns}
                    rows = self.table.upgrade(parquet.read(columns=list(columns)), path, only=wholes)
                else:  # a step may need columns that nobody asked for
                    rows = self.read(name)
        except (OSError, pa.ArrowException, KeyError) as error:
            raise DamagedShard(self.damage(name, f"is not readable ({error})")) from error
        found = {}
        for field in columns:
            whole, _, inner = field.partition(".")
            found[inner or whole] = pc.struct_field(rows[whole], inner) if inner else rows[whole]
        return pa.table(found)

    def names(self) -> list[str]:
        """Names of all shards present, trusted or not."""
        return self.store.files(self.path, ".parquet")

    def sound(self, columns: Sequence[str] | None = None) -> Iterator[tuple[str, pa.Table]]:
        """Name and rows of every shard that proves itself; damaged ones are named in the log and set aside."""
        for name in self.names():
            if (rows := self.proved(name, columns)) is not None:
                yield name, rows

    def sound_tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The rows of every shard that proves itself, as `sound`."""
        return (rows for _, rows in self.sound(columns))

    def is_sound(self, name: str) -> bool:
        """Whether a shard proves itself; if not, it is named in the log and set aside."""
        return self.proved(name) is not None

    def is_as_stated(self, shard: Shard) -> bool:
        """Whether a shard proves itself and has the rows that a manifest states; if not, that is told in the log."""
        rows = self.proved(shard.name)
        if rows is None:
            return False
        if (rows.num_rows, tables_hash([rows])) != (shard.rows, shard.content_hash):
            log.warning("%s; it is written again", self.damage(shard.name, "has other rows than its manifest states"))
            return False
        return True

    def proved(self, name: str, columns: Sequence[str] | None = None) -> pa.Table | None:
        """The rows of a sound shard; a damaged one is named in the log and set aside."""
        for last in (False, True):  # looked at again before it is moved: another run may just have redone it
            try:
                return self.read(name, columns)
            except DamagedShard as damage:
                if last:
                    log.warning("%s; set aside, its rows will be computed again", damage)
                    self.store.set_aside(f"{self.path}/{name}")
        return None

    def damage(self, name: str, what: str) -> str:
        """Words for a damaged shard, with the remedy."""
        url = self.store.fs.unstrip_protocol(f"{self.path}/{name}")
        return f"shard {url} {what}; materialize {self.made_by or self.table.name} again to redo it"


class Writer:
    """Cuts a stream of rows into numbered shards of `shard_rows` rows, the last one shorter."""

    def __init__(self, folder: Folder, *, shard_rows: int = SHARD_ROWS) -> None:
        self._folder = folder
        self._shard_rows = shard_rows
        self._rows = Rows()
        self._shards: list[Shard] = []

    def add(self, rows: pa.Table) -> None:
        """Take rows; store what fills whole shards."""
        self._rows.add(rows)
        while len(self._rows) >= self._shard_rows:
            self._put()

    def close(self) -> list[Shard]:
        """Store the rest and name all shards in order."""
        if len(self._rows):
            self._put()
        return self._shards

    def _put(self) -> None:
        rows = self._rows.take(self._shard_rows)
        self._shards.append(self._folder.put(rows, prefix=f"part-{len(self._shards):05d}-"))


def seal(store: Store, path: str, manifest: dict[str, Any], shards: dict[str, list[Shard]]) -> dict[str, Any]:
    """Declare a folder complete: write its manifest, last, naming every shard per table. Returns the manifest."""
    sealed = {**manifest, "shards": {name: [asdict(shard) for shard in found] for name, found in shards.items()}}
    store.put_json(f"{path}/{MANIFEST}", sealed)
    return sealed


def sealed(store: Store, path: str, folders: dict[str, Folder], form: Any = Sealed) -> dict[str, Any] | None:
    """The manifest of a complete, undamaged folder, else None. Damage is named in the log and set aside.

    Args:
        form: of the manifest; it has at least what `Sealed` has.
    """
    try:
        manifest = store.get_json(f"{path}/{MANIFEST}", form)
    except DamagedObject as damage:
        log.warning("%s; it will be written again", damage)
        return None
    if manifest is None:
        return None
    try:
        shards = {name: shards_of(manifest, name) for name in folders}
    except KeyError as missing:
        log.warning("%s/%s names no shards of %s and will be written again", path, MANIFEST, missing)
        return None
    # every shard is looked at, so that one run finds all damage
    sound = [folder.is_as_stated(shard) for name, folder in folders.items() for shard in shards[name]]
    return manifest if all(sound) else None


def shards_of(manifest: dict[str, Any], table: str) -> list[Shard]:
    """The shards that a manifest names for a table."""
    return [Shard(**shard) for shard in manifest["shards"][table]]


def content_hash(shards: Iterable[Shard]) -> str:
    """Order-free hash of all rows of some shards."""
    total = ContentHash()
    for shard in shards:
        total.merge(shard.content_hash)
    return total.hexdigest


def undamaged(parts: Iterable[tuple[Folder, Sequence[Shard]]]) -> Finding:
    """Whether every shard has the bytes that its name promises and the rows that its manifest counts."""
    damaged: list[str] = []
    count = 0
    for folder, found in parts:
        for shard in found:
            count += 1
            try:
                rows = folder.read(shard.name)
            except DamagedShard as damage:
                damaged.append(str(damage))
            else:
                if rows.num_rows != shard.rows:
                    damaged.append(
                        folder.damage(shard.name, f"has {rows.num_rows} rows, its manifest says {shard.rows}")
                    )
                elif tables_hash([rows]) != shard.content_hash:
                    damaged.append(folder.damage(shard.name, "has other rows than its manifest states"))
    return Finding(not damaged, "; ".join(damaged) or f"{count} shards", {"shards": count, "damaged": len(damaged)})
