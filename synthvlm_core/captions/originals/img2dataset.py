"""Original images that img2dataset fetched: tars of KEY.jpg and KEY.json, or the same files in folders.

Belongs here: which picture lies where, and reading it. Does not belong here: captions in such archives
(captions/readers/img2dataset.py), archives that are broken or hostile (captions/readers/tars.py).

A picture is found by the address in its JSON, else by its key: img2dataset's own, or the publisher's `uid` where the
JSON has one. Archives are read once from end to end for that, which needs their heads and JSONs; nothing is unpacked.
"""

import codecs
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import Field

from synthvlm_core import hashing
from synthvlm_core.captions import files
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import tars
from synthvlm_core.captions.readers.objects import NotOne, json_object
from synthvlm_core.captions.readers.opening import blame, opened, suffix
from synthvlm_core.decoding import UndecodableImage, decode
from synthvlm_core.parts.originals import OK, Find, Originals, Outcome, Wanted
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Incidental, Location, Positive
from synthvlm_core.parts.source import InputFile, Unreadable
from synthvlm_core.store import sql
from synthvlm_core.store.sql import Relation, Scratch

PICTURES = ("jpg", "jpeg", "png", "webp")
_MAX_JSON = 1 << 20
_BATCH = 10_000
_ROUND_BYTES = 512 << 20
"""Bytes of pictures after which a round reads no more: the rest comes in the next."""
_INDEX = pa.schema(
    [
        ("name", pa.string()),
        ("file", pa.int32()),
        ("start", pa.int64()),
        ("size", pa.int64()),
    ]
)
_ABSENT = "not among the files"


class Img2dataset(Originals):
    """What img2dataset wrote, tars or folders of files."""

    by: Literal["img2dataset"]

    files: Annotated[tuple[str, ...], Field(min_length=1), Location("files")]
    """Its tars, or, where it wrote `files`, all of them: `images/*/*`. Other files of its output are passed over."""
    max_bytes: Annotated[Positive, Incidental()] = 8 << 20
    """Larger pictures count as not there."""

    @property
    def version(self) -> int:
        return 1

    def asked(self, source: str, context: Context) -> str:
        return hashing.of_json([self.max_bytes, *files.fingerprints(self._inputs(source, context))])

    def load(self, source: str, context: Context) -> Find:
        stack = ExitStack()
        scratch = stack.enter_context(sql.scratch())
        try:
            inputs = self._inputs(source, context)
            index = scratch.load(_INDEX, _indexed(inputs))
        except Unreadable as error:
            stack.close()
            raise SourceError(str(error)) from error

        def find(wanted: Sequence[Wanted], tick: Callable[[int], None]) -> list[Outcome | None]:
            _ = stack  # the index lives as long as what reads it
            try:
                return list(self._read(wanted, _places(scratch, index, wanted), inputs, tick))
            except Unreadable as error:
                raise SourceError(str(error)) from error

        return find

    def _inputs(self, source: str, context: Context) -> list[InputFile]:
        found = files.resolve(source, self.files, context.folder)
        return [  # neighbours by name are one sample
            InputFile(one.name, one.url, (), {} if one.listed is None else {one.url: one.listed})
            for one in sorted(found, key=lambda one: one.url)
            if suffix(one.url) in _TAKEN
        ]

    def _read(
        self,
        wanted: Sequence[Wanted],
        places: "dict[int, tuple[int, int, int]]",
        inputs: Sequence[InputFile],
        tick: Callable[[int], None],
    ) -> Iterator[Outcome | None]:
        """In the order of the files, so that each is opened once; told in the order that was asked for."""
        outcomes: list[Outcome | None] = [Outcome(_ABSENT)] * len(wanted)
        by_place = sorted(places, key=lambda number: places[number])
        done = held = 0
        for file in sorted({places[number][0] for number in by_place}):
            url = inputs[file].url
            with opened(url, unpack=False) as handle:
                for number in by_place:
                    if places[number][0] == file:
                        _, start, size = places[number]
                        outcome = None if held >= _ROUND_BYTES else self._picture(url, handle, start, size)
                        outcomes[number] = outcome
                        held += len(outcome.data or b"") if outcome else 0
                        done += 1
                        tick(done)
        return iter(outcomes)

    def _picture(self, url: str, handle: Any, start: int, size: int) -> Outcome:
        if size > self.max_bytes:
            return Outcome("too large")
        with blame(url):
            handle.seek(start)
            data = handle.read(size)
        try:
            decode(data)
        except UndecodableImage:
            return Outcome("no picture")
        return Outcome(OK, data)


_TAKEN = (".tar", ".json", *(f".{ending}" for ending in PICTURES))


def _places(scratch: Scratch, index: Relation, wanted: Sequence[Wanted]) -> dict[int, tuple[int, int, int]]:
    """By number of the wanted image file, start and size; of several pictures of one name the first."""
    names = [(number, rank, name) for number, one in enumerate(wanted) for rank, name in enumerate(_names(one))]
    columns = list(zip(*names, strict=True)) or [(), (), ()]
    asked = scratch.create(
        pa.table(
            {"number": pa.array(columns[0], pa.int64()), "rank": columns[1], "name": pa.array(columns[2], pa.string())}
        )
    )
    found = scratch.rows(
        f"""
        select number, file, start, size
        from {asked} join {index} using (name)
        qualify row_number() over (partition by number order by rank, file, start) = 1
        """
    )
    scratch.drop(asked)
    return {number: (file, start, size) for number, file, start, size in found}


def _names(one: Wanted) -> list[str]:
    """What a picture may be known by, the surest first."""
    return ([f"url {one.url}"] if one.url else []) + ([f"key {one.uid}"] if one.uid else [])


def _indexed(inputs: Sequence[InputFile]) -> Iterator[pa.Table]:
    """Names and places of all pictures."""
    held: list[tuple[str, int, int, int]] = []
    for stem, group in itertools.groupby(enumerate(inputs), lambda one: one[1].url.rpartition(".")[0]):
        parts: dict[str, tars.Member] = {}
        of_picture = 0
        for number, file in group:
            ending = suffix(file.url)[1:]
            if ending == "tar":
                for key, found in _samples(file.url):
                    held += _entries(key, found, number)
                    if len(held) >= _BATCH:
                        yield _table(held)
                        held = []
            elif ending == "json":
                parts["json"] = _loose(file.url, ending)
            elif "picture" not in parts:
                parts["picture"], of_picture = _loose(file.url, ending), number
        held += _entries(stem, parts, of_picture)
    yield _table(held)


def _samples(url: str) -> Iterator[tuple[str, dict[str, tars.Member]]]:
    """Members that follow one another under one name: its picture and its JSON, as far as there are such."""
    before = ""
    parts: dict[str, tars.Member] = {}
    for name, member in tars.members(url, {"json": _MAX_JSON}, Counter()):
        folder, slash, base = name.rpartition("/")
        stem, _, ending = base.partition(".")
        key, ending = folder + slash + stem, ending.lower()
        if key != before:
            yield before, parts
            before, parts = key, {}
        if ending in PICTURES:
            parts.setdefault("picture", member)
        elif ending == "json":
            parts.setdefault("json", member)
    yield before, parts


def _entries(key: str, parts: "dict[str, tars.Member]", file: int) -> Iterator[tuple[str, int, int, int]]:
    picture = parts.get("picture")
    if picture is None or picture.is_link or picture.size == 0:
        return
    about: dict[str, Any] = {}
    if "json" in parts and parts["json"].size <= _MAX_JSON and not parts["json"].is_link:
        try:
            about = json_object(parts["json"].content.removeprefix(codecs.BOM_UTF8))
        except NotOne:  # then its name must do
            about = {}
    names = [f"url {about['url']}"] if isinstance(about.get("url"), str) else []
    keys = [about.get("uid"), about.get("key"), key.rpartition("/")[2]]
    names += [f"key {name}" for name in dict.fromkeys(keys) if isinstance(name, str)]
    for name in names:
        yield name.encode("utf-8", "replace").decode(), file, picture.offset, picture.size


def _loose(url: str, ending: str) -> tars.Member:
    """A file of a folder as if it were a member of an archive."""
    with opened(url, unpack=False) as handle, blame(url):
        if ending == "json":
            content = handle.read(_MAX_JSON + 1)
            return tars.Member(len(content), content, False)
        size = handle.seek(0, 2)
        return tars.Member(size, b"", False)


def _table(rows: list[tuple[str, int, int, int]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_INDEX)
    return pa.table(
        [pa.array(column, field.type) for column, field in zip(columns, _INDEX, strict=True)], schema=_INDEX
    )
