"""Each check holds on a sound store and fails on the one store made to break it."""

import re
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from synthvlm_core.captions import checks
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.readers import conceptual_captions
from synthvlm_core.captions.rules import statistics
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import shards
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import Folder, Shard

Edit = Callable[[Recipe, dict[str, object]], Recipe]
Change = Callable[[pa.Table], pa.Table]
SOURCE = "laion"


@pytest.fixture
def decided(store: Store, small_recipe: Recipe) -> Store:
    RawCaptions(store, small_recipe, SOURCE).make()
    FilteredCaptions(store, small_recipe, SOURCE).make()
    return store


@pytest.fixture
def raw(decided: Store, small_recipe: Recipe) -> RawCaptions:
    return RawCaptions(decided, small_recipe, SOURCE)


@pytest.fixture
def filtered(decided: Store, small_recipe: Recipe) -> FilteredCaptions:
    return FilteredCaptions(decided, small_recipe, SOURCE)


def rewrite(folder: Folder, manifest_path: str, name: str, old: Shard, rows: pa.Table) -> None:
    """Put other rows in place of a shard, manifest and all, as a faulty stage would have."""
    manifest = folder.store.get_json(manifest_path, dict[str, Any])
    assert manifest is not None
    new = [vars(folder.put(rows))] if rows.num_rows else []
    manifest["shards"][name] = [shard for shard in manifest["shards"][name] if shard["name"] != old.name] + new
    folder.store.put_json(manifest_path, manifest)


def rewrite_kept(stage: FilteredCaptions, change: Change) -> FilteredCaptions:
    """The stage as another process sees it afterwards."""
    folder, [shard] = stage.folders["kept"], stage.shards("kept")
    rewrite(folder, stage.manifest_path, "kept", shard, change(folder.read(shard.name)))
    return FilteredCaptions(stage.store, stage.recipe, SOURCE)


def rewrite_raw(stage: RawCaptions, change: Change) -> RawCaptions:
    """The stage as another process sees it afterwards."""
    [(_, parts)] = stage.files()
    folder, [shard] = parts["captions"]
    manifest = f"{Path(folder.path).parent}/{shards.MANIFEST}"
    rewrite(folder, manifest, "captions", shard, change(folder.read(shard.name)))
    return RawCaptions(stage.store, stage.recipe, SOURCE)


def with_column(rows: pa.Table, name: str, change: Callable[[list], list]) -> pa.Table:
    index = rows.schema.get_field_index(name)
    return rows.set_column(index, rows.schema.field(index), pa.array(change(rows[name].to_pylist())))


def test_all_hold_on_a_sound_store(raw: RawCaptions, filtered: FilteredCaptions) -> None:
    for finding in (
        checks.every_input_row_is_stored(raw),
        checks.ids_are_sound(raw),
        checks.shards_are_undamaged(raw),
        checks.ids_are_sound(filtered),
        checks.rows_add_up(filtered),
        checks.rejected_share_is_usual(filtered),
        checks.kept_captions_pass_every_rule(filtered),
        checks.shards_are_undamaged(filtered),
    ):
        assert finding.passed, finding.summary


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.slice(1),
        lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
        lambda rows: with_column(rows, "row", lambda numbers: [0, *numbers[:-1]]),
    ],
    ids=["lost", "doubled", "renumbered"],
)
def test_a_lost_or_doubled_input_row(raw: RawCaptions, change: Change) -> None:
    finding = checks.every_input_row_is_stored(rewrite_raw(raw, change))
    assert not finding.passed
    assert "laion.parquet" in finding.summary
    asked = re.search(r"delete (\S+) and materialize raw_captions of 'laion' again", finding.summary)
    assert asked, finding.summary
    shutil.rmtree(asked[1].removeprefix("file://"))
    raw.make()
    assert checks.every_input_row_is_stored(raw).passed, "what it says to do mends it"


WRONG = {
    "csv": (
        b"caption,url\na ball,http://a\na cat,http://b\n",
        "not 2 columns",
        "a CSV of 2 columns, its header caption, url",
    ),
    "five": (b"1\ta ball\thttp://a\t0.3\tx\n" * 9, "not 2 columns", "a TSV of 5 columns"),
    "json": (b'{"caption": "a"}\n' * 9, "not 2 columns", "JSON lines with the keys caption"),
    "latin": ("caf\xe9\thttp://a\n".encode("latin-1") * 9, "caption is not UTF-8", "a TSV of 2 columns"),
    "empty": (b"\n" * 9, "empty line", "no text at all"),
}


@pytest.mark.parametrize("form", WRONG)
def test_a_source_in_another_form_is_never_green(
    store: Store, small_recipe: Recipe, source_files: Path, form: str
) -> None:
    content, reason, looks = WRONG[form]
    (source_files / "cc.tsv").write_bytes(content)
    stage = RawCaptions(store, small_recipe, "cc")
    stage.make()
    finding = checks.few_rows_are_quarantined(stage)
    assert not finding.passed
    for told in (
        "the source has no captions",
        "cc.tsv: 100.0% quarantined",
        reason,
        f"it looks like {looks}",
        "Correct",
    ):
        assert told in finding.summary


@pytest.mark.parametrize(("most", "passed"), [(0.2, False), (1 / 3, True), (0.0, False), (1.0, True)])
def test_the_quarantined_share_of_a_file(
    store: Store, small_recipe: Recipe, edited: Edit, most: float, passed: bool
) -> None:
    """The bound changes no row: nothing is read anew."""
    RawCaptions(store, small_recipe, "cc").make()
    recipe = edited(small_recipe, {"sources.cc.max_quarantined_share": most})
    finding = checks.few_rows_are_quarantined(RawCaptions(store, recipe, "cc"))
    assert finding.passed == passed
    assert finding.numbers["worst_file"] == pytest.approx(1 / 3)


def test_one_bad_file_among_good_ones(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    (source_files / "cc.tsv").write_bytes(b"a black ring\thttp://a\n" * 1000)
    (source_files / "odd.tsv").write_bytes(b"a black ring,http://a\n" * 9 + b"a\tb\n")
    (source_files / "none.tsv").write_bytes(b"")
    stage = RawCaptions(store, small_recipe, "cc")
    stage.make()
    finding = checks.few_rows_are_quarantined(stage)
    assert (finding.passed, finding.numbers["empty_files"]) == (False, 1)
    assert finding.summary.startswith("odd.tsv: 90.0% quarantined, mostly: not 2 columns")
    assert "files without any row: none.tsv" in finding.summary


def test_a_source_of_empty_files_is_never_green(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    (source_files / "cc.tsv").write_bytes(b"")
    recipe = edited(small_recipe, {"sources.cc.max_quarantined_share": 1.0})
    RawCaptions(store, recipe, "cc").make()
    finding = checks.few_rows_are_quarantined(RawCaptions(store, recipe, "cc"))
    assert not finding.passed
    assert "the source has no captions" in finding.summary


def test_rows_that_a_reader_drops_are_missed(
    store: Store, small_recipe: Recipe, source_files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the file holds is counted by something else than what was read."""
    original = conceptual_captions._rows
    monkeypatch.setattr(conceptual_captions, "_rows", lambda *given: islice(original(*given), 4))
    RawCaptions(store, small_recipe, "cc").make()
    finding = checks.every_input_row_is_stored(RawCaptions(store, small_recipe, "cc"))
    assert not finding.passed
    assert "cc.tsv: 4 rows stored, the file has 6" in finding.summary


def test_what_a_file_holds_beside_rows_is_told(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    pq.write_table(
        pa.table({"TEXT": ["a black ring"], "caption": ["a ring"], "NSFW": ["no"]}), source_files / "laion.parquet"
    )
    RawCaptions(store, small_recipe, SOURCE).make()
    finding = checks.every_input_row_is_stored(RawCaptions(store, small_recipe, SOURCE))
    assert (finding.passed, finding.summary) == (True, "all 1 rows of 1 files; not read: columns caption, NSFW")


def test_a_swapped_text(raw: RawCaptions, filtered: FilteredCaptions) -> None:
    def swap(rows: pa.Table) -> pa.Table:
        return with_column(rows, "text", lambda texts: texts[::-1])

    for stage in (rewrite_raw(raw, swap), rewrite_kept(filtered, swap)):
        finding = checks.ids_are_sound(stage)
        assert not finding.passed
        delete = re.search(rf"delete (\S+) and materialize {stage.name} of 'laion' again", finding.summary)
        assert delete is not None
        shutil.rmtree(delete[1].removeprefix("file://"))
        again = type(stage)(stage.store, stage.recipe, "laion")
        again.make()
        assert checks.ids_are_sound(again).passed, "what it says mends it"


def test_a_row_of_another_source(filtered: FilteredCaptions) -> None:
    other = rewrite_kept(filtered, lambda rows: with_column(rows, "source", lambda names: ["cc"] * len(names)))
    finding = checks.ids_are_sound(other)
    assert (finding.passed, finding.numbers["wrong"]) == (False, 4)


@pytest.mark.parametrize(
    "change",
    [
        lambda rows: rows.slice(1),
        lambda rows: pa.concat_tables([rows, rows.slice(0, 1)]),
        lambda rows: with_column(rows, "duplicates", lambda counts: [count + 1 for count in counts]),
    ],
    ids=["lost", "doubled", "miscounted"],
)
def test_a_lost_doubled_or_miscounted_caption(filtered: FilteredCaptions, change: Change) -> None:
    finding = checks.rows_add_up(rewrite_kept(filtered, change))
    assert not finding.passed
    assert finding.numbers["wrong"] >= 1


def test_a_kept_caption_that_breaks_a_rule(filtered: FilteredCaptions) -> None:
    bad = "buy now buy now buy now buy now buy now buy now"
    other = rewrite_kept(filtered, lambda rows: with_column(rows, "text", lambda texts: [bad, *texts[1:]]))
    finding = checks.kept_captions_pass_every_rule(other)
    assert not finding.passed
    assert finding.numbers["character_repetition"] == 1


def test_bounds_are_closed(filtered: FilteredCaptions, small_recipe: Recipe, edited: Edit) -> None:
    """A caption exactly on a bound is kept, and the check agrees."""
    [values] = [rows for _, rows in filtered.measured(filtered.families[0]).sound()]
    kept = [caption for table in filtered.kept(["caption_id"]) for caption in table["caption_id"].to_pylist()]
    of_kept = [row["special_char_ratio"] for row in values.to_pylist() if row["caption_id"] in kept]
    exactly = {"min_ratio": min(of_kept), "max_ratio": max(of_kept)}
    rule = {"rule": "special_characters", **exactly}
    for rules in ([rule], [rule, {"rule": "alphanumeric", "min_ratio": 0.6}]):
        stage = FilteredCaptions(filtered.store, edited(small_recipe, {"captions.rules": rules}), SOURCE)
        stage.make()
        decided = [text for table in stage.kept(["caption_id"]) for text in table["caption_id"].to_pylist()]
        assert set(kept) <= set(decided)
        finding = checks.kept_captions_pass_every_rule(stage)
        assert finding.passed, finding.summary


def by_model(store: Store, recipe: Recipe, edited: Edit, rule: str, **bound: float) -> FilteredCaptions:
    """Decided by one rule whose values a model measured: they are read from the store."""
    rules = [part.model_dump(mode="json") for part in recipes.load("miniature").captions.rules]
    [chosen] = [{**part, **bound} for part in rules if part["rule"] == rule]
    stage = FilteredCaptions(store, edited(recipe, {"captions.rules": [chosen]}), SOURCE)
    stage.make()
    return stage


@pytest.fixture
def judged(decided: Store, small_recipe: Recipe, edited: Edit) -> FilteredCaptions:
    return by_model(decided, small_recipe, edited, "perplexity", max_ppl=1e9)


def measured(stage: FilteredCaptions) -> tuple[Folder, str, pa.Table]:
    [family] = stage.families
    folder = stage.measured(family)
    [name] = folder.names()
    return folder, name, folder.read(name)


@pytest.mark.model
@pytest.mark.parametrize(
    ("rule", "bound", "everything", "last"),
    [("perplexity", "max_ppl", 1e9, max), ("judge", "min_yes", 0.0, min)],
)
def test_bounds_of_a_models_values_are_closed(
    decided: Store,
    small_recipe: Recipe,
    edited: Edit,
    rule: str,
    bound: str,
    everything: float,
    last: Callable[[list[float]], float],
) -> None:
    values = measured(by_model(decided, small_recipe, edited, rule, **{bound: everything}))[2].columns[1].to_pylist()
    stage = by_model(decided, small_recipe, edited, rule, **{bound: last(values)})
    assert stage.manifest["rejected"] == 0
    assert checks.kept_captions_pass_every_rule(stage).passed


@pytest.mark.model
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e10])
def test_a_models_value_beyond_the_bound_fails(judged: FilteredCaptions, bad: float) -> None:
    folder, name, rows = measured(judged)
    folder.put(with_column(rows, "perplexity", lambda values: [bad, *values[1:]]))
    Path(folder.path, name).unlink()
    finding = checks.kept_captions_pass_every_rule(judged)
    assert (finding.passed, finding.numbers["perplexity"]) == (False, 1)


@pytest.mark.model
def test_a_models_value_that_is_missing_fails(judged: FilteredCaptions) -> None:
    folder, name, rows = measured(judged)
    folder.put(rows.slice(1))
    Path(folder.path, name).unlink()
    finding = checks.kept_captions_pass_every_rule(judged)
    assert (finding.passed, finding.warning) == (False, False)
    assert "break a rule: none" in finding.summary, "nobody knows"
    assert re.search(r"perplexity of 1 of \d+ kept captions is not in \S+ any more; materialize", finding.summary)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_statistic_that_is_no_number_fails(
    filtered: FilteredCaptions, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    original = statistics.text_statistics

    def broken(texts: pa.ChunkedArray, **options: object) -> pa.Table:
        found = original(texts, **options)
        return with_column(found, "alnum_ratio", lambda values: [bad, *values[1:]])

    assert filtered.manifest["kept"] == 4
    monkeypatch.setattr(statistics, "text_statistics", broken)
    finding = checks.kept_captions_pass_every_rule(filtered)
    assert (finding.passed, finding.numbers["alphanumeric"]) == (False, 1)


def test_rules_that_were_not_applied_are_told(decided: Store, small_recipe: Recipe, edited: Edit) -> None:
    earlier = [
        {"rule": "perplexity", "model": {"id": "nowhere"}, "scorer": "kenlm", "max_ppl": 5500.0},
        {"rule": "judge", "model": {"id": "nowhere"}, "answers": "server", "prompt": "{caption}?"},
    ]
    stage = FilteredCaptions(decided, edited(small_recipe, {"captions.rules": earlier}), SOURCE)
    stage.make()
    finding = checks.kept_captions_pass_every_rule(stage)
    assert (finding.passed, finding.warning) == (False, True), "it warns, and stops nothing"
    assert finding.numbers["rules_not_applied"] == 2
    assert "not applied: perplexity (KenLM is a rule of its own" in finding.summary
    assert "; judge (" in finding.summary


@pytest.mark.parametrize(
    ("low", "high", "usual"), [(0.0, 0.1, False), (0.5, 1.0, False), (0.0, 2 / 6, True), (2 / 6, 1.0, True)]
)
def test_the_rejected_share(
    decided: Store, small_recipe: Recipe, edited: Edit, low: float, high: float, usual: bool
) -> None:
    """The bounds change no result: what is stored stays."""
    strange = edited(small_recipe, {"captions.rejected_share": [low, high]})
    finding = checks.rejected_share_is_usual(FilteredCaptions(decided, strange, SOURCE))
    assert finding.passed == usual
    assert finding.numbers["share"] == pytest.approx(2 / 6)


@pytest.mark.parametrize("stage", ["raw_captions", "filtered_captions"])
def test_a_truncated_shard(raw: RawCaptions, filtered: FilteredCaptions, stage: str) -> None:
    if stage == "raw_captions":
        [(_, parts)] = raw.files()
        folder, [shard] = parts["captions"]
    else:
        folder, [shard] = filtered.folders["kept"], filtered.shards("kept")
    path = Path(folder.path, shard.name)
    path.write_bytes(path.read_bytes()[:-10])
    finding = checks.shards_are_undamaged(raw if stage == "raw_captions" else filtered)
    assert not finding.passed
    assert shard.name in finding.summary
