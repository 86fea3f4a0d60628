"""Stage synthvlm_100k: the selected pairs as an immutable, published set.

Belongs here: what a release consists of, its content hash, the order in which its files appear. Does not belong
here: which pairs are selected (selection.py) and what single files look like (llava.py, huggingface.py, card.py).

    releases/<name>/<content hash>/data/*.parquet          Hugging Face Parquet, ranks in order
    releases/<name>/<content hash>/llava/synthvlm.json     LLaVA's conversations, images/ beside it
    releases/<name>/<content hash>/README.md, recipe.json  the card, the resolved recipe
    releases/<name>/<content hash>/manifest.json           last of its files
    releases/<name>/latest.json                            names the content hash, moved after that

The content hash is over the released rows, pictures and human turns included: the same pairs under the same
instructions give the same release. A control of pairs taken at random is released under `<name>-random`.
"""

import hashlib
import math
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from synthvlm_core import hashing, records, selection, sql, tables
from synthvlm_core import recipe as recipes
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.hashing import ContentHash
from synthvlm_core.images import encoding, synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import card, huggingface, llava
from synthvlm_core.selection import Method, Ranked
from synthvlm_core.store import Store

STAGE_VERSION = 2
LATEST = "latest.json"
BATCH_ROWS = 500
"""Rows with pictures in memory at once."""

Progress = Callable[[str, int, int], None]


class FailingSource(Mendable):
    """A source whose scores fail the recipe's thresholds: nothing is released, neither with it nor silently without."""


class DamagedRelease(Mendable):
    """A released file that cannot be read; the message names it and the remedy."""


def code_version(recipe: Recipe) -> str:
    """Hash of what a release depends on apart from scored pairs."""
    chosen = selection.code_version(recipe)
    return hashing.of_json([chosen, recipe.release.model_dump(mode="json"), STAGE_VERSION])


def publish(
    store: Store,
    recipe: Recipe,
    *,
    method: Method = "synthvlm",
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Select and release, or find that this content was released.

    Returns:
        The manifest: name, method, content_hash, rows, report of the selection, Parquet and LLaVA files with sizes and
        hashes.

    Raises:
        FailingSource: if a source fails the recipe's thresholds.
        TooFewPairs: if fewer pairs than the recipe asks for can be taken.
        NotMaterialized: if a source is not scored yet.
    """
    with (
        selection.ranked(
            selection.candidates(store, recipe), recipe.selection, seed=recipe.seed, method=method
        ) as ranked,
        sql.connect() as db,
    ):
        _refuse_failing(ranked.report)
        _gather(db, store, recipe, ranked, on_progress)
        content = _content_hash(db, recipe)
        name = release_name(recipe, method)
        path = store.path("releases", name, content)
        manifest = _sound(db, store, recipe, path)
        if manifest is None:
            values = {"name": name, "method": method, "content_hash": content, "report": ranked.report}
            manifest = _write(db, store, recipe, path, values, on_progress)
    store.put_json(store.path("releases", name, LATEST), {"content_hash": content, "version": code_version(recipe)})
    return manifest


def release_name(recipe: Recipe, method: Method = "synthvlm") -> str:
    """The folder of a release; a control has a name of its own."""
    return recipe.release.name if method == "synthvlm" else f"{recipe.release.name}-{method}"


def manifest(store: Store, recipe: Recipe, method: Method = "synthvlm") -> dict[str, Any]:
    """The manifest of the latest release. Raises NotMaterialized with the remedy if there is none."""
    name = release_name(recipe, method)
    latest = store.get_json(store.path("releases", name, LATEST))
    found = latest and store.get_json(store.path("releases", name, latest["content_hash"], tables.MANIFEST))
    if not found:
        raise NotMaterialized(f"no release {name!r} in {store.url()}: materialize synthvlm_100k first")
    return dict(found)


def location(store: Store, manifest: dict[str, Any]) -> str:
    """Path of a release's folder in the store."""
    return store.path("releases", manifest["name"], manifest["content_hash"])


def rows(store: Store, manifest: dict[str, Any], columns: list[str] | None = None) -> Iterator[pa.Table]:
    """The released rows by rank, a few at a time, pictures only if asked for.

    Raises:
        DamagedRelease: if a file is gone or not readable.
    """
    table, schema = records.SYNTHVLM_100K, huggingface.schema()
    for file in manifest["parquet"]:
        path = f"{location(store, manifest)}/data/{file['name']}"
        try:
            with store.fs.open(path, "rb") as handle:
                parquet = pq.ParquetFile(handle)
                if not parquet.schema_arrow.equals(schema, check_metadata=False):
                    raise pa.ArrowInvalid(f"not the columns of {table.name} v{table.version}")
                for batch in parquet.iter_batches(BATCH_ROWS, columns=columns):
                    wanted = pa.schema([table.schema.field(name) for name in batch.schema.names])
                    yield pa.Table.from_batches([batch]).cast(wanted)
        except (OSError, ValueError) as error:  # the latter from Arrow, and for a null where there must be none
            url = store.fs.unstrip_protocol(path)
            raise DamagedRelease(f"{url} cannot be read ({error}); {remedy(store, manifest)}") from error


def with_instructions(rows: pa.Table, recipe: Recipe) -> pa.Table:
    """Released rows with their human turns: all that the content hash is over."""
    drawn = [
        llava.instruction(recipe.release.instructions, recipe.seed, caption_id)
        for caption_id in rows["caption_id"].to_pylist()
    ]
    return rows.append_column("instruction", pa.array(drawn, pa.string()))


def remedy(store: Store, manifest: dict[str, Any]) -> str:
    """What to do about a release that is not what it should be."""
    url = store.fs.unstrip_protocol(location(store, manifest))
    return f"materialize synthvlm_100k again, and if that does not mend it, delete {url} before"


def _refuse_failing(report: dict[str, Any]) -> None:
    failing = {name: source["verdict"] for name, source in report["sources"].items() if not source["passed"]}
    if failing:
        named = "; ".join(f"{name}: {why}" for name, why in failing.items())
        raise FailingSource(
            f"sources fail the recipe's thresholds ({named}); mend them and materialize them again, lower "
            "selection.source_thresholds, or take the source out of the recipe"
        )


def _gather(db: duckdb.DuckDBPyConnection, store: Store, recipe: Recipe, ranked: Ranked, on_progress: Progress) -> None:
    """Table `released`: the ranked rows with their pictures, on disk, read from the stored images once."""
    columns = ", ".join(f"{field.name} {_sql_type(field.type)}" for field in selection.RANKED)
    db.execute(f"create table ranked ({columns})")
    for part in ranked.tables():
        db.register("part", part)
        db.execute("insert into ranked select * from part")
        db.unregister("part")
    db.execute("create table pictures (image_id varchar, data blob, path varchar)")
    for number, source in enumerate(recipe.sources):
        on_progress("gather pictures", number, len(recipe.sources))
        for part in synthesis.counting_images(store, recipe, source.name):
            db.register("part", part.select(["image_id", "image"]))
            db.execute(
                "insert into pictures select image_id, image.bytes, image.path from part"
                " semi join ranked using (image_id)"
            )
            db.unregister("part")
    missing = db.execute("select image_id from ranked anti join pictures using (image_id) limit 1").fetchall()
    if missing:
        raise NotMaterialized(f"image {missing[0][0]} is scored but not stored: materialize synthetic_images again")


def _batches(db: duckdb.DuckDBPyConnection) -> Iterator[pa.Table]:
    """The released rows by rank in the columns of the record type."""
    names = [column.name for column in records.SYNTHVLM_100K.columns]
    shown = ", ".join("{'bytes': data, 'path': path} as image" if name == "image" else name for name in names)
    query = f"select {shown} from ranked join pictures using (image_id) order by rank"
    for batch in db.sql(query).to_arrow_reader(BATCH_ROWS):
        if batch.num_rows:
            yield pa.Table.from_batches([batch]).cast(records.SYNTHVLM_100K.schema)


def _content_hash(db: duckdb.DuckDBPyConnection, recipe: Recipe) -> str:
    content = ContentHash()
    for part in _batches(db):
        content.add_table(with_instructions(part, recipe))
    return content.hexdigest


def _write(
    db: duckdb.DuckDBPyConnection,
    store: Store,
    recipe: Recipe,
    path: str,
    values: dict[str, Any],
    on_progress: Progress,
) -> dict[str, Any]:
    """Write every file of a release, the manifest last."""
    total, size = db.execute("select count(*), sum(octet_length(data)) from pictures").fetchall()[0]
    rows_per_file = huggingface.rows_per_file(total, size)
    files = math.ceil(total / rows_per_file)
    extension = encoding.EXTENSIONS[recipe.generator.encoding.format]
    conversations: list[dict[str, Any]] = []
    parquet: list[dict[str, Any]] = []
    held = records.SYNTHVLM_100K.schema.empty_table()
    for part in _batches(db):
        on_progress("write release", len(conversations), total)
        for row in part.to_pylist():
            entry = llava.record(row, instructions=recipe.release.instructions, seed=recipe.seed, extension=extension)
            store.replace(f"{path}/llava/images/{entry['image']}", row["image"]["bytes"])
            conversations.append(entry)
        held = pa.concat_tables([held, part])
        while held.num_rows >= rows_per_file or (held.num_rows and len(conversations) == total):
            some, held = held.slice(0, rows_per_file), held.slice(rows_per_file)
            name, data = huggingface.file_name(len(parquet), files), huggingface.encode(some)
            store.replace(f"{path}/data/{name}", data)
            parquet.append({"name": name, "rows": some.num_rows, **_proof(data)})
    data = llava.dumps(conversations)
    store.replace(f"{path}/llava/{llava.JSON_NAME}", data)
    values = {**values, "rows": total, "parquet": parquet, "llava": {"name": llava.JSON_NAME, **_proof(data)}}
    store.replace(f"{path}/recipe.json", recipes.dumps(recipe).encode())
    store.replace(f"{path}/README.md", card.render(recipe, values).encode())
    store.put_json(f"{path}/{tables.MANIFEST}", values)
    on_progress("write release", total, total)
    return values


def _sound(db: duckdb.DuckDBPyConnection, store: Store, recipe: Recipe, path: str) -> dict[str, Any] | None:
    """The manifest of a complete release whose files are what it says, else None.

    Of the pictures beside the JSON only sizes are looked at: on a bucket one listing tells them all.
    """
    try:
        found: dict[str, Any] | None = store.get_json(f"{path}/{tables.MANIFEST}")
        if found is None or damage(store, path, found):
            return None
    except (Mendable, KeyError, TypeError):
        return None
    extension = encoding.EXTENSIONS[recipe.generator.encoding.format]
    files = store.fs.find(f"{path}/llava/images", detail=True).items()
    sizes = {name.rsplit("/", 1)[-1]: file["size"] for name, file in files}
    wanted = db.execute("select image_id, octet_length(data) from pictures").fetchall()
    return found if all(sizes.get(f"{image_id}.{extension}") == size for image_id, size in wanted) else None


def damage(store: Store, path: str, manifest: dict[str, Any]) -> list[str]:
    """The Parquet and JSON files of a release that are not what the manifest says."""
    wrong = []
    for folder, file in [*(("data", f) for f in manifest["parquet"]), ("llava", manifest["llava"])]:
        try:
            found = _proof(store.get(f"{path}/{folder}/{file['name']}"))
        except FileNotFoundError:
            wrong.append(f"{folder}/{file['name']} is missing")
            continue
        if found != {key: file[key] for key in found}:
            wrong.append(f"{folder}/{file['name']} has other bytes than were written")
    return wrong


def _proof(data: bytes) -> dict[str, Any]:
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _sql_type(kind: pa.DataType) -> str:
    return {pa.string(): "varchar", pa.int64(): "bigint", pa.int32(): "integer", pa.float64(): "double"}[kind]
