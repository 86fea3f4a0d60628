"""img2dataset's output: WebDataset tars of NNN.jpg, NNN.txt and NNN.json side by side, or Parquet.

Belongs here: finding the members of a sample; tars are streamed and never unpacked to disk. Does not belong here:
images, which are skipped unread, and the columns of Parquet files (parquet.py).
"""

import codecs
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from synthvlm_core.captions.readers import parquet, tars
from synthvlm_core.captions.readers.objects import NotOne, json_object
from synthvlm_core.captions.readers.opening import suffix
from synthvlm_core.captions.readers.rows import MAX_TOLD, About, Row, grouped, longest_text
from synthvlm_core.captions.readers.tars import Member
from synthvlm_core.parts.source import InputFile, Rows, Source
from synthvlm_core.store import sql

_MAX_JSON = 1 << 20

_MEMORY = "1GB"
_BATCH_BYTES, _FETCHED = 16 << 20, 64
_RUNS = pa.schema([("place", pa.int64()), ("key", pa.binary()), ("txt", pa.binary()), ("json", pa.binary())])

# Members of a sample that stand apart belong together: the n-th text of a name to its n-th JSON. Where a name occurs
# so often that nobody can say which is whose, each run of members stays a row of its own.
_JOIN = """
CREATE TABLE numbered AS
SELECT
    place, key, txt, json,
    count(txt) OVER before AS texts,
    count(json) OVER before AS jsons,
    CASE WHEN txt IS NULL AND json IS NULL THEN 1
         WHEN json IS NULL THEN texts
         WHEN txt IS NULL THEN jsons
         ELSE greatest(texts, jsons) END AS sample
FROM runs
WINDOW before AS (PARTITION BY key ORDER BY place);
CREATE TABLE unclear AS
SELECT DISTINCT key FROM numbered GROUP BY key, sample HAVING count(txt) > 1 OR count(json) > 1;
CREATE TABLE samples AS
SELECT min(place) AS place, key, any_value(txt) AS txt, any_value(json) AS json
FROM numbered
GROUP BY key, CASE WHEN key IN (SELECT key FROM unclear) THEN -place ELSE sample END;
"""


class Img2dataset(Source):
    """Tars: one row per sample, members whose names agree up to the first dot. Files named *.parquet: as laion."""

    format: Literal["img2dataset"]

    def read(self, file: InputFile, batch_rows: int) -> Iterator[Rows]:
        if suffix(file.url) == ".parquet":
            yield from parquet.read(file.url, max_characters=self.max_characters, batch_rows=batch_rows)
        else:
            about = About()
            yield from grouped(_samples(file.url, longest_text(self.max_characters), about), batch_rows, about)


class _Run(NamedTuple):
    """What neighbouring members of one name hold: a sample, or a part of one whose other parts stand elsewhere."""

    key: str
    parts: dict[str, Member]


def _samples(url: str, limit: int, about: About) -> Iterator[Row]:
    """One row for each sample. Archives as img2dataset writes them are streamed; from where on the members of a sample
    stand apart is only known at the end, so all texts go through a database that may spill to disk."""
    limits = {"txt": limit, "json": _MAX_JSON}
    left: Counter[str] = Counter()
    with sql.scratch(_MEMORY) as scratch:
        database = scratch.connection
        database.execute("CREATE TABLE runs (place BIGINT, key BLOB, txt BLOB, json BLOB)")
        for batch in _batches(_runs(url, limits, left)):
            database.register("batch", batch)
            database.execute("INSERT INTO runs SELECT * FROM batch")
            database.unregister("batch")
        database.execute(_JOIN)
        [(about.in_file,)] = database.execute("SELECT count(*) FROM samples").fetchall()
        about.unused = [f"{count} {what}" for what, count in left.most_common()]
        found = database.execute("SELECT key, txt, json FROM samples ORDER BY place")
        while rows := found.fetchmany(_FETCHED):
            for key, *parts in rows:
                loaded = {name: Member(*_unpacked(part)) for name, part in zip(limits, parts, strict=True) if part}
                yield _sample(key.decode("utf-8", "surrogateescape"), loaded, limits)


def _runs(url: str, limits: dict[str, int], left: Counter[str]) -> Iterator[_Run]:
    """Members that follow one another under one name; of two that are both its text the second begins another."""
    run: _Run | None = None
    for name, part in tars.members(url, limits, left):
        folder, slash, base = name.rpartition("/")
        stem, _, extension = base.partition(".")
        key, extension = folder + slash + stem, extension.lower()
        if run is not None and (run.key != key or extension in run.parts):
            yield run
            run = None
        run = run or _Run(key, {})
        if extension in limits:
            run.parts[extension] = part
        else:
            told = f"members .{ascii(extension)[1:-1][:20]}" if extension else "members without an ending"
            left[told if told in left or len(left) < MAX_TOLD else "other members"] += 1
    if run is not None:
        yield run


def _batches(runs: Iterator[_Run]) -> Iterator[pa.Table]:
    held, size = [], 0
    for place, run in enumerate(runs):
        parts = [_packed(run.parts[name]) if name in run.parts else None for name in ("txt", "json")]
        held.append((place, run.key.encode("utf-8", "surrogateescape"), *parts))
        size += 100 + sum(len(part) for part in parts if part)
        if size > _BATCH_BYTES:
            yield _table(held)
            held, size = [], 0
    yield _table(held)


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) or [()] * len(_RUNS)
    return pa.table([pa.array(column, field.type) for column, field in zip(columns, _RUNS, strict=True)], schema=_RUNS)


def _packed(part: Member) -> bytes:
    return part.size.to_bytes(8, "little") + bytes([part.is_link]) + part.content


def _unpacked(packed: bytes) -> tuple[int, bytes, bool]:
    return int.from_bytes(packed[:8], "little"), packed[9:], bool(packed[8])


def _sample(key: str, parts: dict[str, Member], limits: dict[str, int]) -> Row:
    raw = next(
        (parts[name].content for name in ("txt", "json") if name in parts), key.encode("utf-8", "surrogateescape")
    )
    if "txt" not in parts:
        return Row(None, problem="sample without .txt", raw=raw)
    for name, limit in limits.items():
        if name in parts and parts[name].is_link:
            return Row(None, problem=f".{name} is a link to another member", raw=raw)
        if name in parts and parts[name].size > limit:
            return Row(None, problem=f".{name} longer than {limit} bytes", raw=raw)
    about: dict[str, Any] = {}
    if "json" in parts:
        try:
            about = json_object(parts["json"].content.removeprefix(codecs.BOM_UTF8))
        except NotOne as error:
            twice = "twice" in str(error)
            what = ".json holds a key twice" if twice else ".json is not a JSON object"
            return Row(None, problem=what, raw=parts["json"].content)
    similarity = about.get("similarity")
    return Row(
        parts["txt"].content,
        _bytes(about.get("url")),
        _bytes(about.get("key")) or key.encode("utf-8", "surrogateescape"),
        float(similarity) if isinstance(similarity, float) and similarity == similarity else None,
        raw=raw,
    )


def _bytes(value: Any) -> bytes | None:
    # surrogatepass: half a surrogate pair is found out as not UTF-8 with all the others
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else None
