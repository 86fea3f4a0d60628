"""The set as tar shards for `webdataset`: a picture, its columns and its caption under one key.

Belongs here: the tar files. Does not belong here: which pairs are released (released.py).

    webdataset/train-00000-of-00002.tar
        <image id>.jpg, .png or .webp    the picture
        <image id>.json                  all columns but the picture
        <image id>.txt                   the caption

Members of a sample stand together, samples by rank. Headers say nothing of when and by whom, so that the same rows are
the same bytes. The form: https://github.com/webdataset/webdataset#the-webdataset-format; a key ends at the first dot of
a name, and image ids have none.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, Literal

import pyarrow as pa

from synthvlm_core.parts.format import Format, Pair, SetContext, Writer

ROWS_PER_FILE = 10_000
FILE_BYTES = 200_000_000
"""Most pictures in a shard by their mean size: it is built and put whole."""


class WebDataset(Format):
    """Tar shards, three members a sample."""

    format: Literal["webdataset"]
    version: ClassVar[int] = 1
    folder: ClassVar[str] = "webdataset"
    explained: ClassVar[str] = (
        "the same pairs as tar shards for streaming with `webdataset`: of each sample the picture, `.json` with all "
        "other columns and `.txt` with the caption."
    )

    def writer(self, put: Callable[[str, bytes], None], context: SetContext) -> Writer:
        return _Shards(put, context)

    def pairs(self, get: Callable[[str], bytes], names: list[str], context: SetContext) -> Iterator[Pair]:
        for name in sorted(names):
            for key, sample in _samples(get(name), name):
                if sorted(sample) != sorted([context.extension, "json", "txt"]):
                    raise ValueError(f"webdataset/{name}, sample {key}: members {sorted(sample)}")
                try:
                    told = json.loads(sample["json"])
                    text = sample["txt"].decode()
                except ValueError as error:
                    raise ValueError(f"webdataset/{name}, sample {key}: {error}") from error
                yield Pair(key, text, hashlib.sha256(sample[context.extension]).hexdigest(), _canonical(told))

    def pair(self, row: dict[str, Any], context: SetContext) -> Pair:
        picture = hashlib.sha256(row["image"]["bytes"]).hexdigest()
        return Pair(row["image_id"], row["text"], picture, _canonical(_without_picture(row)))


class _Shards(Writer):
    """Cuts the samples into shards of about equal size."""

    def __init__(self, put: Callable[[str, bytes], None], context: SetContext) -> None:
        self._put, self._extension = put, context.extension
        self._rows = context.rows_per_file(ROWS_PER_FILE, FILE_BYTES)
        self._total = -(-context.rows // self._rows)
        self._held: list[tuple[str, bytes]] = []
        self._count = self._written = 0

    def add(self, rows: pa.Table) -> None:
        for row in rows.to_pylist():
            key = row["image_id"]
            self._held += [
                (f"{key}.{self._extension}", row["image"]["bytes"]),
                (f"{key}.json", json.dumps(_without_picture(row), ensure_ascii=False).encode()),
                (f"{key}.txt", row["text"].encode()),
            ]
            self._count += 1
            if self._count == self._rows:
                self._write()

    def close(self) -> None:
        if self._count:
            self._write()

    def _write(self) -> None:
        self._put(f"train-{self._written:05d}-of-{self._total:05d}.tar", _tar(self._held))
        self._held, self._count = [], 0
        self._written += 1


def _tar(members: list[tuple[str, bytes]]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            header = tarfile.TarInfo(name)  # mode 0644, and no time, user or group
            header.size = len(data)
            tar.addfile(header, io.BytesIO(data))
    return buffer.getvalue()


def _samples(data: bytes, name: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Key and members by extension of every sample: neighbours of one key, as `webdataset` groups them."""
    key, sample = "", dict[str, bytes]()
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                held = tar.extractfile(member)
                if held is None:
                    raise ValueError(f"{member.name!r} is no file")
                stem, _, extension = member.name.partition(".")
                if sample and (stem != key or extension in sample):
                    yield key, sample
                    sample = {}
                key, sample[extension] = stem, held.read()
    except tarfile.TarError as error:
        raise ValueError(f"webdataset/{name} is no tar file ({error})") from error
    if sample:
        yield key, sample


def _without_picture(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "image"}


def _canonical(told: Any) -> str:
    return json.dumps(told, sort_keys=True)
