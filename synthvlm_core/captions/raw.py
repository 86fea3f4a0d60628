"""Stage raw_captions: the rows of one source as they stood in its files.

Belongs here: which files are read, which were read before, and the manifest of the whole. Does not belong here: the
file formats (readers/), the judgement of a row (judging.py) and any judgement of a caption (filtered.py).

    raw_captions/source=<name>/<reader>/<file key>/     one sealed folder per input file: captions/, quarantine/
    raw_captions/source=<name>/<reader>/of-<recipe>.json the files that make up the source of a recipe now
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from typing import Any

import pyarrow.compute as pc
from typing_extensions import TypedDict

from synthvlm_core import hashing
from synthvlm_core.captions import files, judging
from synthvlm_core.errors import NotMaterialized
from synthvlm_core.hashing import ContentHash
from synthvlm_core.parts.locations import shown
from synthvlm_core.parts.section import definition, named
from synthvlm_core.parts.source import InputFile, Source
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage
from synthvlm_core.store import records, shards
from synthvlm_core.store.documents import Count, Hash, ShardEntry, document
from synthvlm_core.store.objects import DamagedObject
from synthvlm_core.store.shards import Folder, Shard

VERSION = 1
_LOOKED_AT = 20
"""Shards of quarantined rows that are searched for examples."""


@document
class FileSummary(TypedDict):
    """One input file, as the source's manifest names it."""

    file: str
    key: Hash
    rows: Count
    quarantined: Count


@document
class FileManifest(FileSummary):
    """One input file, read and sealed."""

    reasons: dict[str, int]
    content_hash: Hash
    shards: dict[str, list[ShardEntry]]


@document
class Manifest(TypedDict):
    """The files that make up a source."""

    rows: Count
    quarantined: Count
    reasons: dict[str, int]
    content_hash: Hash
    files: list[FileSummary]


TABLES = {"captions": records.RAW_CAPTIONS, "quarantine": records.QUARANTINE}


def reader_key(source: Source) -> str:
    """What rows depend on apart from the files: everything in the source's section but where the files are."""
    return definition("raw_captions", VERSION, named(source, leave_out=("files", "metadata_files", "originals")))


class RawCaptions(Stage):
    """The rows of one source."""

    name = "raw_captions"
    over = "source"
    form = Manifest

    @classmethod
    def code_version(cls, recipe: Recipe) -> str:
        """Hash of the sources section: which files, and how they are read."""
        return hashing.of_json([VERSION, [named(source, leave_out=("originals",)) for source in recipe.sources]])

    @property
    def needs(self) -> Sequence[Stage]:
        return ()

    @cached_property
    def source(self) -> Source:
        """The recipe's section."""
        return self.recipe.source(self.partition)

    @property
    def manifest_path(self) -> str:
        """Recipes that read other files under the same source name have manifests of their own."""
        of = hashing.of_json([self.source.files, self.source.beside])[:8]
        return self._path(f"of-{self.recipe.name}-{of}.json")

    def make(self, progress: Progress = silent, *, shard_rows: int = shards.SHARD_ROWS) -> dict[str, Any]:
        """Read the files of a source that were not read before and declare which files make it up now.

        Returns:
            The manifest: rows, quarantined, reasons, content_hash, and the files with their keys and counts.

        Raises:
            SourceError: if a pattern matches nothing or a file cannot be read at all; what other files gave stays.
        """
        inputs = files.input_files(self.source, self.recipe.folder)
        found = []
        for done, (file, key) in enumerate(zip(inputs, _file_keys(inputs), strict=True)):
            progress(f"files: {file.name}", done, len(inputs))
            path = self._path(key)
            sealed = shards.sealed(self.store, path, self._folders(key), FileManifest)
            if sealed is None:
                so_far = partial(_so_far, progress, file, done, len(inputs))
                sealed = self._read_file(file, key, shard_rows, so_far)
            found.append(sealed)
        progress("files", len(inputs), len(inputs))

        whole = self._whole(found)
        self.store.put_json(self.manifest_path, whole)
        return self.made(whole)

    def files(self) -> list[tuple[dict[str, Any], dict[str, tuple[Folder, list[Shard]]]]]:
        """For each input file its entry in the manifest, and folder and shards of `captions` and `quarantine`."""
        return [(file, self._shards_of(file["key"])) for file in self.manifest["files"]]

    def captions(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Captions as tables, in the order of files and rows."""
        return self._tables("captions", columns)

    def quarantine(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Rows that are no captions, as tables, in the order of files and rows."""
        return self._tables("quarantine", columns)

    def examples(self, *, captions: int = 8, per_reason: int = 3) -> dict[str, list[dict[str, Any]]]:
        """Some captions of the first files, and some quarantined rows of each reason, to look at.

        Returns:
            "captions": `file`, `row`, `text`; "quarantine": `file`, `row`, `reason` and `content`, bytes as read. Rare
            reasons may lack one in a source of millions of them: no more than the first `_LOOKED_AT` shards are read.
        """
        each = max(2, captions // max(1, len(self.manifest["files"])))
        taken: list[dict[str, Any]] = []
        for part in self.captions(["file", "row", "text"]):
            taken += part.slice(0, min(each, captions - len(taken))).to_pylist()
            if len(taken) >= captions:
                break
        refused: dict[str, list[dict[str, Any]]] = {reason: [] for reason in self.manifest["reasons"]}
        wanted = {reason: min(count, per_reason) for reason, count in self.manifest["reasons"].items()}
        for part in itertools.islice(self.quarantine(["file", "row", "reason", "content"]), _LOOKED_AT):
            for reason, found in refused.items():
                rows = part.filter(pc.equal(part["reason"], reason))
                found += rows.slice(0, wanted[reason] - len(found)).to_pylist()
            if all(len(found) >= wanted[reason] for reason, found in refused.items()):
                break
        return {"captions": taken, "quarantine": [row for found in refused.values() for row in found]}

    def changed(self) -> str | None:
        """A hash of the source's files if they are not those of the last `make`, else None."""
        now = _file_keys(files.input_files(self.source, self.recipe.folder))
        try:
            before = [file["key"] for file in self.manifest["files"]]
        except (NotMaterialized, DamagedObject):  # never read, or the manifest is damaged: read again
            before = []
        return None if now == before else hashing.of_json([reader_key(self.source), now])

    def foreseen(self) -> tuple[dict[str, Any], list[str]]:
        """The manifest over those of the source's files that were read as they are now, by whatever recipe, and the
        names of the others. Writes nothing.

        Raises:
            SourceError: if a pattern matches nothing.
        """
        inputs = files.input_files(self.source, self.recipe.folder)
        read, unread = [], []
        for file, key in zip(inputs, _file_keys(inputs), strict=True):
            try:
                sealed: dict[str, Any] | None = self.store.get_json(
                    f"{self._path(key)}/{shards.MANIFEST}", FileManifest
                )
            except DamagedObject:  # `make` reads the file again
                sealed = None
            if sealed is None:
                unread.append(file.name)
            else:
                read.append(sealed)
        return self._whole(read), unread

    def _whole(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        """The manifest of a source that is made up of some sealed files."""
        content = ContentHash()
        reasons: Counter[str] = Counter()
        for manifest in found:
            content.merge(manifest["content_hash"])
            reasons.update(manifest["reasons"])
        return {
            "table": records.RAW_CAPTIONS.name,
            "source": self.source.name,
            "rows": sum(manifest["rows"] for manifest in found),
            "quarantined": sum(manifest["quarantined"] for manifest in found),
            "reasons": dict(reasons.most_common()),
            "content_hash": content.hexdigest,
            "files": [{name: m[name] for name in ("file", "key", "rows", "quarantined")} | _told(m) for m in found],
        }

    def _tables(self, table: str, columns: Sequence[str] | None) -> Iterator[Any]:
        for _, parts in self.files():
            folder, found = parts[table]
            yield from folder.tables((shard.name for shard in found), columns)

    def _shards_of(self, key: str) -> dict[str, tuple[Folder, list[Shard]]]:
        sealed: dict[str, Any] | None = self.store.get_json(
            f"{self._path(key)}/{shards.MANIFEST}", FileManifest, self.remedy
        )
        if sealed is None:
            raise NotMaterialized(f"{self._path(key)} has lost its manifest: {self.remedy}")
        return {table: (folder, shards.shards_of(sealed, table)) for table, folder in self._folders(key).items()}

    def _read_file(self, file: InputFile, key: str, shard_rows: int, so_far: Callable[[int], None]) -> dict[str, Any]:
        """Store one input file as a sealed folder, telling how many rows are read."""
        writers = {table: shards.Writer(folder, shard_rows=shard_rows) for table, folder in self._folders(key).items()}
        reasons: Counter[str] = Counter()
        told: dict[str, Any] = {"in_file": None, "unused": []}
        rows = 0
        for batch in judging.read(self.source, file):
            writers["captions"].add(batch.captions)
            writers["quarantine"].add(batch.quarantined)
            reasons.update(batch.quarantined["reason"].to_pylist())
            told = {"in_file": batch.in_file, "unused": list(batch.unused)}
            rows += batch.rows
            so_far(rows)
        if _file_keys([replace(file, listed={})]) != [key]:
            raise files.SourceError(f"{file.name} changed while it was read: materialize again when it is complete")
        kept, quarantined = writers["captions"].close(), writers["quarantine"].close()
        if quarantined:
            told["looks_like"] = judging.looks_like(file)
        manifest = {
            "file": file.name,
            "key": key,
            "rows": sum(shard.rows for shard in kept),
            "quarantined": sum(shard.rows for shard in quarantined),
            "reasons": dict(reasons.most_common()),
            **told,
            "content_hash": shards.content_hash([*kept, *quarantined]),
        }
        return shards.seal(self.store, self._path(key), manifest, {"captions": kept, "quarantine": quarantined})

    def _folders(self, key: str) -> dict[str, Folder]:
        return {name: Folder(self.store, table, self._path(key, name), self.name) for name, table in TABLES.items()}

    def _path(self, *parts: str) -> str:
        return self.store.path(self.name, f"source={self.source.name}", reader_key(self.source), *parts)


def _so_far(progress: Progress, file: InputFile, done: int, total: int, rows: int) -> None:
    """Tell which file is read, and how far: one of many gigabytes takes its time."""
    progress(f"files: {file.name}, {rows:,} rows", done, total)


def _told(manifest: dict[str, Any]) -> dict[str, Any]:
    """What the manifest of a file says of it beside counts; less, if it was written by an earlier version."""
    reason = next(iter(manifest["reasons"]), None)
    found = {"reason": reason, **{name: manifest.get(name) for name in ("in_file", "unused", "looks_like")}}
    return {name: value for name, value in found.items() if value not in (None, [])}


def _file_keys(inputs: list[InputFile]) -> list[str]:
    """Name, place and fingerprint of each: two equal files in two places are two files."""
    marks = files.fingerprints(inputs)
    return [hashing.of_json([file.name, shown(file.url), mark]) for file, mark in zip(inputs, marks, strict=True)]
