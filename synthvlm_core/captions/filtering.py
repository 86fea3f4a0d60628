"""Stage filtered_captions: merge exact duplicates, measure, decide, keep every verdict.

Belongs here: the order of merging, measuring and deciding, and the manifest of a decision. Does not belong here:
what is measured (measurements.py) and where the bounds come from (rules.py).

    caption_measurements/<definition>/source=<name>/   append-only, keyed by caption id, one folder per family
    filtered_captions/<key>/source=<name>/             kept/ and rejected/, sealed; key = rules and raw content
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import duckdb
import pyarrow as pa

from synthvlm_core import hashing, records, sql, tables
from synthvlm_core.captions import measurements, raw, rules
from synthvlm_core.captions.measurements import Family
from synthvlm_core.captions.rules import Rule
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.recipe import Captions, Recipe
from synthvlm_core.store import Store
from synthvlm_core.tables import DamagedShard, Folder

STAGE_VERSION = 1
HISTOGRAM_BINS = 50


def code_version(recipe: Recipe) -> str:
    """Hash of what a verdict depends on apart from captions and weights: the rules and the list of words."""
    try:
        words = measurements.load_words(recipe).sha256
    except Mendable:  # told when the stage runs; the definitions must load all the same
        words = "unreadable"
    return hashing.of_json({"captions": _deciding(recipe.captions), "words": words, "stage": STAGE_VERSION})


def key(recipe: Recipe, families: list[Family], raw_content: str) -> str:
    """Names a decision: the rules, what the measurements depend on, and the raw captions' content."""
    return hashing.of_json([code_version(recipe), [family.definition for family in families], raw_content])


def decide(
    store: Store,
    recipe: Recipe,
    source_name: str,
    *,
    shard_rows: int = tables.SHARD_ROWS,
    on_progress: Callable[[str, int, int], None] = lambda family, done, total: None,
) -> dict[str, Any]:
    """Keep or reject every caption of a source; measure only what was never measured.

    Families of measurements apply one after the other: a caption that breaks a rule of one is not measured by the
    next, so that the dearest model reads the fewest captions.

    Args:
        on_progress: called with (family, captions measured, captions to measure).

    Returns:
        The manifest: rows in, captions, kept, rejected, merged, rejected_by_rule, histograms, content_hash of the
        kept captions, the inputs it was decided from and the rules not applied.
    """
    read = raw.manifest(store, recipe, source_name)
    families = measurements.families(recipe)
    path = _path(store, key(recipe, families, read["content_hash"]), source_name)
    folders = _folders(store, path)
    found = tables.sealed(store, path, folders)
    if found is not None:
        return {**found, "measured": 0, "measured_by_family": dict.fromkeys(found["measured_by_family"], 0)}

    words = measurements.load_words(recipe)
    active = [rule for family in families for rule in family.rules]
    with sql.connect() as db:
        _merge_duplicates(db, store, recipe, read)
        db.execute("create table broken (caption_id varchar, rule varchar, value double, threshold double)")
        measured = {}
        for family in families:
            folder = _measured(store, source_name, family)
            measured[family.table.name] = _measure(db, folder, family, shard_rows, on_progress)
            _judge(db, folder, family)
        db.execute("create view verdicts as select * from captions left join broken using (caption_id)")
        kept = _store(db, folders["kept"], "rule is null", shard_rows)
        rejected = _store(db, folders["rejected"], "rule is not null", shard_rows)
        manifest = {
            "table": records.FILTERED_CAPTIONS.name,
            "version": records.FILTERED_CAPTIONS.version,
            "source": source_name,
            **_counts(db, active),
            "content_hash": tables.content_hash(kept),
            "measured": sum(measured.values()),
            "measured_by_family": measured,
            "histograms": {
                rule.statistic: _histogram(db, family, rule) for family in families for rule in family.rules
            },
            "rules": [{**vars(rule), "family": family.table.name} for family in families for rule in family.rules],
            "not_applied": rules.not_applied(recipe.captions),
            "inputs": {
                "raw_content": read["content_hash"],
                "definitions": {family.table.name: family.definition for family in families},
                "flagged_words": {"origin": words.origin, "sha256": words.sha256},
            },
        }
    return tables.seal(store, path, manifest, {"kept": kept, "rejected": rejected})


def manifest(store: Store, recipe: Recipe, source_name: str) -> dict[str, Any]:
    """The manifest of the decision for the recipe's rules and the raw captions as they are now.

    Raises:
        NotMaterialized: with the remedy, if these rules were not yet applied to these captions.
    """
    found: dict[str, Any] | None = store.get_json(f"{location(store, recipe, source_name)}/{tables.MANIFEST}")
    if found is None:
        raise NotMaterialized(
            f"filtered_captions of source {source_name!r} are not in {store.url()} for this recipe's rules and the "
            "raw captions as they are now: materialize them first"
        )
    return found


def location(store: Store, recipe: Recipe, source_name: str) -> str:
    """Path of the decision for the recipe's rules and the raw captions as they are now."""
    raw_content = raw.manifest(store, recipe, source_name)["content_hash"]
    return _path(store, key(recipe, measurements.families(recipe), raw_content), source_name)


def shards(store: Store, recipe: Recipe, source_name: str, table: str) -> tuple[Folder, list[tables.Shard]]:
    """Folder and shards of `kept` or `rejected`."""
    found = manifest(store, recipe, source_name)
    return _folders(store, location(store, recipe, source_name))[table], tables.shards_of(found, table)


def examples(store: Store, recipe: Recipe, source_name: str, *, per_side: int = 3) -> dict[str, dict[str, Any]]:
    """For each rule the captions nearest to its bounds on either side: {rule: {"kept": [...], "rejected": [...]}}.

    Each example is (text, value). They show what a small move of the threshold would change.
    """
    kept_folder, kept = shards(store, recipe, source_name, "kept")
    rejected_folder, rejected = shards(store, recipe, source_name, "rejected")
    chosen: dict[str, dict[str, Any]] = {}
    with sql.connect() as db:
        db.register("kept", kept_folder.dataset([shard.name for shard in kept]))
        db.register("rejected", rejected_folder.dataset([shard.name for shard in rejected]))
        for family in measurements.families(recipe):
            folder = _measured(store, source_name, family)
            db.register("measured", folder.dataset(folder.names()))
            for rule in family.rules:
                bounds = [bound for bound in (rule.minimum, rule.maximum) if bound is not None]
                distance = "least(" + ", ".join(f"abs({rule.statistic} - {bound!r})" for bound in bounds) + ")"
                chosen[rule.name] = {
                    "kept": db.execute(
                        f"select text, min({rule.statistic}), min({distance}) as distance, caption_id"
                        " from kept join measured using (caption_id) group by caption_id, text"
                        " order by distance, caption_id limit ?",
                        [per_side],
                    ).fetchall(),
                    "rejected": db.execute(
                        "select text, value, abs(value - threshold) as distance, caption_id from rejected"
                        " where rule = ? order by distance, caption_id limit ?",
                        [rule.name, per_side],
                    ).fetchall(),
                }
            db.unregister("measured")
    return {
        rule: {side: [(text, value) for text, value, *_ in found] for side, found in sides.items()}
        for rule, sides in chosen.items()
    }


def stored_measurements(store: Store, recipe: Recipe, source_name: str) -> list[tuple[Family, Folder]]:
    """The families of the recipe, each with the folder of its values for a source."""
    return [(family, _measured(store, source_name, family)) for family in measurements.families(recipe)]


def _deciding(captions: Captions) -> dict[str, Any]:
    """The part of the section that can change a verdict."""
    section = captions.model_dump(mode="json", exclude={"rejected_share"})
    for rule in ("perplexity", "judge"):
        if section[rule] is not None:
            del section[rule]["batch_size"]
    return section


def _merge_duplicates(db: duckdb.DuckDBPyConnection, store: Store, recipe: Recipe, read: dict[str, Any]) -> None:
    """Table `captions`: one row per caption id, the first by file and row, with the count of merged rows.

    Args:
        read: the manifest of raw_captions that the decision is keyed by; others may be written meanwhile.

    Raises:
        DamagedShard: if a raw shard is not what it was; a decision from it would outlive the repair.
    """
    db.execute("create table rows (caption_id varchar, text varchar, origin varchar, file integer, row bigint)")
    for number, (folder, found) in enumerate(raw.shards(store, recipe, read["source"], "captions", of=read)):
        for shard in found:
            db.register("shard", folder.read(shard.name))
            db.execute("insert into rows select caption_id, text, origin, ?, row from shard", [number])
            db.unregister("shard")
    if (rows := _scalar(db, "select count(*) from rows")) != read["rows"]:
        raise DamagedShard(f"raw_captions of {read['source']} have {rows} rows, not {read['rows']}: materialize them")
    db.execute(
        "create table captions as select caption_id, any_value(text) as text, any_value(origin) as origin,"
        " ? as source, count(*)::bigint as duplicates, min((file, row)) as place from rows group by caption_id",
        [read["source"]],
    )
    db.execute("drop table rows")


def _measure(
    db: duckdb.DuckDBPyConnection,
    folder: Folder,
    family: Family,
    shard_rows: int,
    on_progress: Callable[[str, int, int], None],
) -> int:
    """Measure the captions that broke no rule yet and that no sound shard holds. Returns how many."""
    db.execute("create or replace table stored (caption_id varchar)")
    if sound := folder.sound():
        db.register("shards", folder.dataset(sound))
        db.execute("insert into stored select distinct caption_id from shards")
        db.unregister("shards")
    db.execute(
        "create or replace table wanted as select caption_id, text from captions"
        " anti join broken using (caption_id) anti join stored using (caption_id)"
    )
    total = _scalar(db, "select count(*) from wanted")
    done = 0
    rows = min(shard_rows, family.shard_rows or shard_rows)
    # in the order of ids: two runs at once cut the same shards, meet on the same names and store them once
    for batch in _batches(db, "select caption_id, text from wanted order by caption_id", rows):
        for start in range(0, batch.num_rows, rows):
            on_progress(family.table.name, done, total)
            part = batch.slice(start, rows)
            folder.put(family.measure(part["text"]).add_column(0, "caption_id", part["caption_id"]))
            done += part.num_rows
    on_progress(family.table.name, total, total)
    return total


def _judge(db: duckdb.DuckDBPyConnection, folder: Folder, family: Family) -> None:
    """Add to `broken` the captions that break a rule of the family: the first such rule, value and bound."""
    # one value per caption, the same one in every order: two runs may have measured it, on unlike machines
    columns = ", ".join(f"min({column.name}) as {column.name}" for column in family.table.columns[1:])
    db.register("shards", folder.dataset(folder.names()))
    db.execute(
        f"create table {family.table.name} as select caption_id, {columns} from shards"
        " semi join captions using (caption_id) anti join broken using (caption_id) group by caption_id"
    )
    db.unregister("shards")
    expected = "select count(*) from captions anti join broken using (caption_id)"
    if _scalar(db, f"select count(*) from {family.table.name}") != _scalar(db, expected):
        raise DamagedShard(f"{folder.path} lost measurements while they were read; run again")
    if family.rules:
        cases = " ".join(
            f"when {_breaks(rule)} then {{'rule': '{rule.name}', 'value': {rule.statistic},"
            f" 'threshold': {_bound(rule)}}}"
            for rule in family.rules
        )
        db.execute(
            "insert into broken select caption_id, first.rule, first.value, first.threshold"
            f" from (select caption_id, case {cases} end as first from {family.table.name}) where first is not null"
        )


def _breaks(rule: Rule) -> str:
    """SQL that is true where a caption breaks the rule. `repr` of a float is exact, and NaN breaks every bound."""
    sides = []
    if rule.minimum is not None:
        sides.append(f"not ({rule.statistic} >= {rule.minimum!r}::double)")
    if rule.maximum is not None:
        sides.append(f"not ({rule.statistic} <= {rule.maximum!r}::double)")
    return "(" + " or ".join([*sides, f"isnan({rule.statistic})"]) + ")"


def _bound(rule: Rule) -> str:
    """SQL for the bound that a caption breaking the rule lies beyond."""
    if rule.minimum is None or rule.maximum is None:
        return f"{rule.maximum if rule.minimum is None else rule.minimum!r}::double"
    return f"(case when {rule.statistic} < {rule.minimum!r} then {rule.minimum!r} else {rule.maximum!r} end)::double"


def _store(db: duckdb.DuckDBPyConnection, folder: Folder, condition: str, shard_rows: int) -> list[tables.Shard]:
    """Write the verdicts that meet a condition, in the order of the input."""
    columns = ", ".join(column.name for column in folder.table.columns)
    writer = tables.Writer(folder, shard_rows=shard_rows)
    query = f"select {columns} from verdicts where {condition} order by place"
    for batch in _batches(db, query, shard_rows):
        writer.add(batch.cast(folder.table.schema))
    return writer.close()


def _counts(db: duckdb.DuckDBPyConnection, active: list[Rule]) -> dict[str, Any]:
    rows, captions, kept = db.execute(
        "select coalesce(sum(duplicates), 0)::bigint, count(*), count(*) filter (where rule is null) from verdicts"
    ).fetchall()[0]
    by_rule = dict(db.execute("select rule, count(*) from verdicts where rule is not null group by rule").fetchall())
    return {
        "rows": rows,
        "captions": captions,
        "merged": rows - captions,
        "kept": kept,
        "rejected": captions - kept,
        "rejected_by_rule": {rule.name: by_rule.get(rule.name, 0) for rule in active},
    }


def _histogram(db: duckdb.DuckDBPyConnection, family: Family, rule: Rule) -> dict[str, Any]:
    """Equal bins over the range of a statistic: `edges` has one more entry than `kept` and `rejected`.

    Over more than three powers of ten, as perplexities go, the bins are equal on a logarithmic scale.
    """
    table, value = family.table.name, rule.statistic
    finite = f"where isfinite({value})"
    low, high = db.execute(f"select min({value}), max({value}) from {table} {finite}").fetchall()[0]
    if low is None:
        return {"edges": [], "kept": [], "rejected": []}
    logarithmic = low > 0 and high > 1000 * low
    if logarithmic:
        low, high, value = math.log10(low), math.log10(high), f"log10({value})"
    width = (high - low) / HISTOGRAM_BINS or 1.0 / HISTOGRAM_BINS
    counts = db.execute(
        f"select greatest(least(floor(({value} - ?) / ?), ?), 0)::integer as bin,"
        " count(*) filter (where rule is null), count(*) filter (where rule is not null)"
        f" from {table} left join broken using (caption_id) {finite} group by bin",
        [low, width, HISTOGRAM_BINS - 1],
    ).fetchall()
    kept, rejected = [0] * HISTOGRAM_BINS, [0] * HISTOGRAM_BINS
    for bin_number, kept_count, rejected_count in counts:
        kept[bin_number], rejected[bin_number] = kept_count, rejected_count
    edges = [low + width * i for i in range(HISTOGRAM_BINS + 1)]
    return {"edges": [10**edge for edge in edges] if logarithmic else edges, "kept": kept, "rejected": rejected}


def _batches(db: duckdb.DuckDBPyConnection, query: str, rows: int) -> Iterator[pa.Table]:
    """The result of a query as tables of about `rows` rows, never all at once."""
    for batch in db.sql(query).to_arrow_reader(rows):
        if batch.num_rows:
            yield pa.Table.from_batches([batch])


def _scalar(db: duckdb.DuckDBPyConnection, query: str) -> int:
    return int(db.execute(query).fetchall()[0][0])


def _path(store: Store, decision: str, source_name: str) -> str:
    return store.path(records.FILTERED_CAPTIONS.name, decision, f"source={source_name}")


def _folders(store: Store, path: str) -> dict[str, Folder]:
    return {
        "kept": Folder(store, records.FILTERED_CAPTIONS, f"{path}/kept"),
        "rejected": Folder(store, records.REJECTED, f"{path}/rejected"),
    }


def _measured(store: Store, source_name: str, family: Family) -> Folder:
    return Folder(store, family.table, store.path("caption_measurements", family.definition, f"source={source_name}"))
