from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from synthvlm_core import recipe as recipes
from synthvlm_core.captions import filtering, measurements, raw
from synthvlm_core.recipe import Recipe, Source
from synthvlm_core.store import Store
from synthvlm_core.tables import DamagedShard

Edit = Callable[[Recipe, dict[str, object]], Recipe]


@pytest.fixture
def collected(store: Store, small_recipe: Recipe) -> Store:
    raw.collect(store, small_recipe, "laion")
    return store


def rows(store: Store, recipe: Recipe, table: str, *columns: str) -> list[tuple]:
    folder, shards = filtering.shards(store, recipe, "laion", table)
    found = []
    for shard in shards:
        read = folder.read(shard.name)
        found += list(zip(*(read[column].to_pylist() for column in columns), strict=True))
    return found


def test_every_caption_is_kept_rejected_or_merged(any_store: Store, small_recipe: Recipe) -> None:
    raw.collect(any_store, small_recipe, "laion")
    manifest = filtering.decide(any_store, small_recipe, "laion")
    assert {key: manifest[key] for key in ("rows", "captions", "merged", "kept", "rejected")} == {
        "rows": 7,
        "captions": 6,
        "merged": 1,
        "kept": 4,
        "rejected": 2,
    }
    kept = rows(any_store, small_recipe, "kept", "text", "duplicates")
    assert kept[0] == ("a small red circle beside a large blue square on a white background", 2)
    assert [count for _, count in kept] == [2, 1, 1, 1]
    rejected = rows(any_store, small_recipe, "rejected", "text", "rule", "threshold")
    assert rejected == [
        ("buy now buy now buy now buy now buy now buy now", "character_repetition", 0.09373663),
        ("!!! *** ???", "alphanumeric", 0.6),
    ]


def test_the_manifest_says_what_was_not_applied(collected: Store, small_recipe: Recipe) -> None:
    manifest = filtering.decide(collected, small_recipe, "laion")
    assert set(manifest["not_applied"]) == {"perplexity", "image_text_matching", "image_text_similarity", "judge"}
    assert manifest["inputs"]["flagged_words"]["origin"] == "better-profanity 0.7.0"


def test_a_changed_threshold_decides_anew_and_measures_nothing(
    collected: Store, small_recipe: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filtering.decide(collected, small_recipe, "laion")
    monkeypatch.setattr(measurements.statistics, "text_statistics", None)  # measuring would fail
    stricter = edited(small_recipe, {"captions.alphanumeric.min_ratio": 0.75})
    after = filtering.decide(collected, stricter, "laion")
    assert before["measured"] == 6
    assert after["measured"] == 0
    assert after["kept"] < before["kept"]
    assert filtering.manifest(collected, small_recipe, "laion") == before


@pytest.mark.parametrize(
    "change",
    [
        {"captions.text_form": "bare"},
        {"captions.word_repetition.rep_len": 3},
        {"captions.flagged_words.words": "mine.txt"},
    ],
)
def test_a_changed_definition_measures_anew(
    collected: Store, small_recipe: Recipe, edited: Edit, source_files: Path, change: dict[str, object]
) -> None:
    (source_files / "mine.txt").write_text("circle\n")
    filtering.decide(collected, small_recipe, "laion")
    assert filtering.decide(collected, edited(small_recipe, change), "laion")["measured"] == 6


def test_an_edited_word_list_is_another_list(
    collected: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    recipe = edited(small_recipe, {"captions.flagged_words.words": "mine.txt"})
    (source_files / "mine.txt").write_text("circle\n")
    first = filtering.decide(collected, recipe, "laion")
    (source_files / "mine.txt").write_text("ring\nrings\n")
    second = filtering.decide(collected, recipe, "laion")
    assert first["rejected_by_rule"]["flagged_words"] == 1
    assert second["rejected_by_rule"]["flagged_words"] == 2


def test_a_rule_that_is_off_rejects_nothing(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    off = dict.fromkeys(
        (f"captions.{rule}" for rule in filtering.rules.TEXT_RULES),
        None,
    )
    manifest = filtering.decide(collected, edited(small_recipe, off), "laion")
    assert manifest["rejected"] == 0
    assert manifest["not_applied"]["alphanumeric"] == "switched off in the recipe"


def test_same_decision_is_not_taken_twice(
    collected: Store, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = filtering.decide(collected, small_recipe, "laion")
    monkeypatch.setattr(filtering.sql, "connect", None)  # any work would fail
    again = filtering.decide(collected, small_recipe, "laion")
    assert (before["measured"], again["measured"]) == (6, 0)
    assert again["content_hash"] == before["content_hash"]


def test_damaged_measurements_are_measured_again(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    filtering.decide(collected, small_recipe, "laion")
    [shard] = Path(collected.root, "caption_measurements").glob("*/source=laion/*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    stricter = edited(small_recipe, {"captions.alphanumeric.min_ratio": 0.75})
    assert filtering.decide(collected, stricter, "laion")["measured"] == 6
    assert (shard.parent / "damaged" / shard.name).exists()


def test_a_damaged_raw_shard_is_not_decided_from(collected: Store, small_recipe: Recipe) -> None:
    [(folder, [shard])] = raw.shards(collected, small_recipe, "laion", "captions")
    whole = Path(folder.path, shard.name).read_bytes()
    Path(folder.path, shard.name).write_bytes(whole[:-10])
    with pytest.raises(DamagedShard, match="materialize raw_captions again"):
        filtering.decide(collected, small_recipe, "laion")
    raw.collect(collected, small_recipe, "laion")
    assert filtering.decide(collected, small_recipe, "laion")["rows"] == 7


def test_two_values_of_one_caption_decide_the_same_in_any_order(
    collected: Store, small_recipe: Recipe, edited: Edit
) -> None:
    """Another machine measured too and differs in the last bits: no reason to stop, nor to waver."""
    first = filtering.decide(collected, small_recipe, "laion")
    [(_, folder)] = filtering.stored_measurements(collected, small_recipe, "laion")
    rows = folder.read(folder.names()[0])
    nudged = pa.array([value + 1e-12 for value in rows["alnum_ratio"].to_pylist()])
    folder.put(rows.set_column(rows.schema.get_field_index("alnum_ratio"), "alnum_ratio", nudged))
    again = filtering.decide(collected, edited(small_recipe, {"captions.alphanumeric.min_ratio": 0.59}), "laion")
    assert again["kept"] == first["kept"]
    assert again["measured"] == 0


def test_a_value_that_is_not_finite_breaks_its_rule(
    collected: Store, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = measurements.statistics.text_statistics

    def with_nan(texts: pa.ChunkedArray, **options: object) -> pa.Table:
        found = original(texts, **options)
        return found.set_column(0, "alnum_ratio", pa.array([float("nan"), *found["alnum_ratio"].to_pylist()[1:]]))

    monkeypatch.setattr(measurements.statistics, "text_statistics", with_nan)
    assert filtering.decide(collected, small_recipe, "laion")["rejected_by_rule"]["alphanumeric"] >= 1


@pytest.mark.parametrize(("smallest", "logarithmic"), [(0.0005, True), (0.05, False), (0.0, False)])
def test_bins_of_values_over_many_powers_of_ten_are_equal_on_a_logarithmic_scale(
    collected: Store, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch, smallest: float, logarithmic: bool
) -> None:
    original = measurements.statistics.text_statistics

    def spread(texts: pa.ChunkedArray, **options: object) -> pa.Table:
        found = original(texts, **options)
        return found.set_column(0, "alnum_ratio", pa.array([smallest, *[0.8] * (len(found) - 1)]))

    monkeypatch.setattr(measurements.statistics, "text_statistics", spread)
    histogram = filtering.decide(collected, small_recipe, "laion")["histograms"]["alnum_ratio"]
    edges = np.array(histogram["edges"])
    steps = np.diff(np.log(edges)) if logarithmic else np.diff(edges)
    assert steps == pytest.approx(np.full(len(steps), steps.mean()))
    assert [edges[0], edges[-1]] == pytest.approx([smallest, 0.8])
    assert (histogram["rejected"][0], histogram["kept"][-1]) == (1, 3)


def test_examples_are_the_nearest_to_each_threshold(collected: Store, small_recipe: Recipe) -> None:
    filtering.decide(collected, small_recipe, "laion")
    found = filtering.examples(collected, small_recipe, "laion", per_side=2)
    assert len(found["alphanumeric"]["kept"]) == 2
    [(text, value)] = found["character_repetition"]["rejected"]
    assert text.startswith("buy now")
    assert value > 0.09373663


def test_a_source_of_bad_rows_only(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    (source_files / "cc.tsv").write_bytes(b"one column\n\n")
    assert raw.collect(store, small_recipe, "cc")["rows"] == 0
    assert filtering.decide(store, small_recipe, "cc")["captions"] == 0


def test_real_captions(store: Store, real_data: Path) -> None:
    miniature = recipes.load("miniature")
    recipe = miniature.model_copy(
        update={
            "captions": miniature.captions.model_copy(update={"perplexity": None, "judge": None}),
            "folder": str(real_data),
            "sources": (
                Source(name="laion", format="laion", files=("laion_style/*.parquet",)),
                Source(name="cc", format="cc3m", files=("cc/*.tsv",)),
                Source(name="flickr", format="img2dataset", files=("flickr8k/*.tar",)),
            ),
        }
    )
    for source in recipe.sources:
        read = raw.collect(store, recipe, source.name)
        decided = filtering.decide(store, recipe, source.name)
        assert decided["rows"] == read["rows"]
        assert decided["rows"] == decided["kept"] + decided["rejected"] + decided["merged"]
        assert decided["kept"] > 0
