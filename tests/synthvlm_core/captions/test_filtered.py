from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from synthvlm_core.captions import filtered
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules import statistics, text_statistics
from synthvlm_core.errors import NotMaterialized
from synthvlm_core.models import language
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.store.shards import DamagedShard

Edit = Callable[[Recipe, dict[str, object]], Recipe]
STRICTER = {"captions.rules.alphanumeric.min_ratio": 0.75}


def stage(store: Store, recipe: Recipe, source: str = "laion") -> FilteredCaptions:
    """The stage as another process would see it."""
    return FilteredCaptions(store, recipe, source)


@pytest.fixture
def collected(store: Store, small_recipe: Recipe) -> Store:
    RawCaptions(store, small_recipe, "laion").make()
    return store


def test_every_caption_is_kept_rejected_or_merged(any_store: Store, small_recipe: Recipe) -> None:
    RawCaptions(any_store, small_recipe, "laion").make()
    manifest = stage(any_store, small_recipe).make()
    assert {key: manifest[key] for key in ("rows", "captions", "merged", "kept", "rejected")} == {
        "rows": 7,
        "captions": 6,
        "merged": 1,
        "kept": 4,
        "rejected": 2,
    }
    [kept] = stage(any_store, small_recipe).kept(["text", "duplicates"])
    assert kept["text"][0].as_py() == "a small red circle beside a large blue square on a white background"
    assert kept["duplicates"].to_pylist() == [2, 1, 1, 1]
    [rejected] = stage(any_store, small_recipe).rejected(["text", "rule", "threshold"])
    assert [tuple(row.values()) for row in rejected.to_pylist()] == [
        ("buy now buy now buy now buy now buy now buy now", "character_repetition", 0.09373663),
        ("!!! *** ???", "alphanumeric", 0.6),
    ]


@pytest.mark.parametrize("shard_rows", [1, 2, 100])
def test_captions_stay_in_the_order_of_the_input(collected: Store, small_recipe: Recipe, shard_rows: int) -> None:
    stage(collected, small_recipe).make(shard_rows=shard_rows)
    raw = [text for table in RawCaptions(collected, small_recipe, "laion").captions() for text in _texts(table)]
    found = stage(collected, small_recipe)
    for side in (found.kept(["text"]), found.rejected(["text"])):
        places = [raw.index(text) for table in side for text in _texts(table)]
        assert places == sorted(places)


def _texts(table: pa.Table) -> list[str]:
    texts: list[str] = table["text"].to_pylist()
    return texts


def test_the_first_rule_of_the_recipes_order_is_told(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    rules = small_recipe.model_dump(mode="json")["captions"]["rules"]
    recipe = edited(small_recipe, {"captions.rules": rules[::-1], **STRICTER})
    stage(collected, recipe).make()
    [rejected] = stage(collected, recipe).rejected(["text", "rule"])
    reasons = {row["text"][:7]: row["rule"] for row in rejected.to_pylist()}
    assert reasons["!!! ***"] == "special_characters"  # alphanumeric, which it breaks as well, comes later now
    assert stage(collected, small_recipe).code_version(recipe) != stage(collected, small_recipe).code_version(
        edited(small_recipe, STRICTER)
    )


def test_the_manifest_says_what_was_not_applied(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    paper = [rule.model_dump(mode="json") for rule in recipes.load("paper").captions.rules]
    of_models = ("kenlm_perplexity", "served_judge")
    kenlm = {"rule": "perplexity", "model": {"id": "nowhere"}, "scorer": "kenlm", "max_ppl": 5500.0}
    rules = [*(rule for rule in paper if rule["rule"] not in of_models), kenlm]
    recipe = edited(small_recipe, {"captions.rules": rules})
    manifest = stage(collected, recipe).make()
    assert list(manifest["not_applied"]) == ["perplexity"]
    assert manifest["without_originals"] == ["image_text_matching", "image_text_similarity"]
    assert [rule["name"] for rule in manifest["rules"]] == [
        "alphanumeric",
        "character_repetition",
        "flagged_words",
        "special_characters",
        "word_repetition",
    ]
    # what is not applied decides nothing, and does not pretend that it decided
    assert manifest["kept"] == stage(collected, small_recipe).make()["kept"]
    assert stage(collected, recipe).key != stage(collected, small_recipe).key


def test_the_manifest_says_where_the_word_list_came_from(
    collected: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    said = stage(collected, small_recipe).make()["inputs"]["files"]
    assert list(said) == ["flagged_words"]
    assert said["flagged_words"]["origin"] == "better-profanity 0.7.0"
    assert len(said["flagged_words"]["sha256"]) == 64
    (source_files / "mine.txt").write_text("circle\n")
    own = edited(small_recipe, {"captions.rules.flagged_words.words": "mine.txt"})
    assert stage(collected, own).make()["inputs"]["files"]["flagged_words"]["origin"] == "mine.txt"


def test_a_changed_threshold_decides_anew_and_measures_nothing(
    collected: Store, small_recipe: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stage(collected, small_recipe).make()
    monkeypatch.setattr(statistics, "text_statistics", None)  # measuring would fail
    after = stage(collected, edited(small_recipe, STRICTER)).make()
    assert before["measured"] == 6
    assert after["measured"] == 0
    assert after["kept"] < before["kept"]
    assert stage(collected, small_recipe).manifest == before


@pytest.mark.parametrize(
    "change",
    [
        {"captions.text_form": "bare"},
        {"captions.rules.word_repetition.rep_len": 3},
        {"captions.rules.character_repetition.rep_len": 3},
        {"captions.rules.flagged_words.words": "mine.txt"},
        {"captions.rules.flagged_words": None},
    ],
)
def test_a_changed_definition_measures_anew(
    collected: Store, small_recipe: Recipe, edited: Edit, source_files: Path, change: dict[str, object]
) -> None:
    (source_files / "mine.txt").write_text("circle\n")
    stage(collected, small_recipe).make()
    assert stage(collected, edited(small_recipe, change)).make()["measured"] == 6


@pytest.mark.parametrize("rule", ["alphanumeric", "character_repetition", "special_characters", "word_repetition"])
def test_a_rule_taken_out_measures_nothing(
    collected: Store, small_recipe: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch, rule: str
) -> None:
    """What no rule asks for is measured as by default: one pass gives all five statistics."""
    before = stage(collected, small_recipe).make()
    monkeypatch.setattr(statistics, "text_statistics", None)
    after = stage(collected, edited(small_recipe, {f"captions.rules.{rule}": None})).make()
    assert after["measured"] == 0
    assert after["kept"] >= before["kept"]
    assert rule not in after["rejected_by_rule"]


def test_an_edited_word_list_is_another_list(
    collected: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    recipe = edited(small_recipe, {"captions.rules.flagged_words.words": "mine.txt"})
    (source_files / "mine.txt").write_text("circle\n")
    first = stage(collected, recipe).make()
    (source_files / "mine.txt").write_text("ring\nrings\n")
    second = stage(collected, recipe).make()
    assert first["rejected_by_rule"]["flagged_words"] == 1
    assert second["rejected_by_rule"]["flagged_words"] == 2


def test_a_word_list_that_is_gone_is_told_when_the_stage_runs(
    collected: Store, small_recipe: Recipe, edited: Edit
) -> None:
    recipe = edited(small_recipe, {"captions.rules.flagged_words.words": "mine.txt"})
    assert FilteredCaptions.code_version(recipe)  # the definitions load all the same
    with pytest.raises(ValueError, match=r"word list mine\.txt: .* cannot be read"):
        stage(collected, recipe).make()


def test_a_recipe_without_rules_rejects_nothing(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    manifest = stage(collected, edited(small_recipe, {"captions.rules": []})).make()
    assert (manifest["kept"], manifest["rejected"], manifest["measured"]) == (6, 0, 0)


def test_same_decision_is_not_taken_twice(
    collected: Store, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = stage(collected, small_recipe).make()
    monkeypatch.setattr(filtered, "Verdicts", None)  # a decision would fail
    again = stage(collected, small_recipe).make()
    assert (before["measured"], again["measured"]) == (6, 0)
    assert again["measured_by_family"] == {"text_statistics": 0}
    assert again["content_hash"] == before["content_hash"]


def test_damaged_measurements_are_measured_again(collected: Store, small_recipe: Recipe, edited: Edit) -> None:
    stage(collected, small_recipe).make()
    [shard] = Path(collected.root, "caption_measurements").glob("*/source=laion/*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    assert stage(collected, edited(small_recipe, STRICTER)).make()["measured"] == 6
    assert (shard.parent / "damaged" / shard.name).exists()


def test_a_measurement_that_is_gone_is_measured_with_the_same_decision(collected: Store, small_recipe: Recipe) -> None:
    """What was decided stays, and whoever reads the measurements of kept captions finds them again."""
    before = stage(collected, small_recipe).make()
    [shard] = Path(collected.root, "caption_measurements").glob("*/source=laion/*.parquet")
    shard.unlink()
    again = stage(collected, small_recipe).make()
    assert (again["content_hash"], again["measured"]) == (before["content_hash"], 6)


def test_a_damaged_raw_shard_is_not_decided_from(collected: Store, small_recipe: Recipe) -> None:
    raw = RawCaptions(collected, small_recipe, "laion")
    [(_, parts)] = raw.files()
    folder, [shard] = parts["captions"]
    whole = Path(folder.path, shard.name).read_bytes()
    Path(folder.path, shard.name).write_bytes(whole[:-10])
    with pytest.raises(DamagedShard, match="materialize raw_captions again"):
        stage(collected, small_recipe).make()
    raw.make()
    assert stage(collected, small_recipe).make()["rows"] == 7


def test_a_damaged_decision_is_taken_again(collected: Store, small_recipe: Recipe) -> None:
    before = stage(collected, small_recipe).make()
    [shard] = Path(stage(collected, small_recipe).path).glob("kept/*.parquet")
    shard.write_bytes(b"")
    again = stage(collected, small_recipe).make()
    assert (again["content_hash"], again["measured"]) == (before["content_hash"], 0)
    assert shard.stat().st_size > 0


def test_without_raw_captions_the_one_to_run_is_named(store: Store, small_recipe: Recipe) -> None:
    with pytest.raises(NotMaterialized, match="materialize raw_captions first"):
        stage(store, small_recipe).make()
    RawCaptions(store, small_recipe, "laion").make()
    with pytest.raises(NotMaterialized, match="materialize filtered_captions first"):
        stage(store, small_recipe).manifest  # noqa: B018


def test_two_values_of_one_caption_decide_the_same_in_any_order(
    collected: Store, small_recipe: Recipe, edited: Edit
) -> None:
    """Another machine measured too and differs in the last bits: no reason to stop, nor to waver."""
    first = stage(collected, small_recipe)
    kept = first.make()["kept"]
    [family] = first.families
    folder = first.measured(family)
    rows = folder.read(folder.names()[0])
    nudged = pa.array([value + 1e-12 for value in rows["alnum_ratio"].to_pylist()])
    folder.put(rows.set_column(rows.schema.get_field_index("alnum_ratio"), "alnum_ratio", nudged))
    again = stage(collected, edited(small_recipe, {"captions.rules.alphanumeric.min_ratio": 0.59})).make()
    assert again["kept"] == kept
    assert again["measured"] == 0


def test_a_value_that_is_not_finite_breaks_its_rule(
    collected: Store, small_recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = statistics.text_statistics

    def with_nan(texts: pa.ChunkedArray, **options: object) -> pa.Table:
        found = original(texts, **options)
        return found.set_column(0, "alnum_ratio", pa.array([float("nan"), *found["alnum_ratio"].to_pylist()[1:]]))

    monkeypatch.setattr(statistics, "text_statistics", with_nan)
    assert stage(collected, small_recipe).make()["rejected_by_rule"]["alphanumeric"] >= 1


def test_a_source_of_bad_rows_only(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    (source_files / "cc.tsv").write_bytes(b"one column\n\n")
    assert RawCaptions(store, small_recipe, "cc").make()["rows"] == 0
    assert stage(store, small_recipe, "cc").make()["captions"] == 0
    assert list(stage(store, small_recipe, "cc").kept()) == []


def definitions(recipe: Recipe) -> dict[str, str]:
    return {family.name: family.measurement.definition for family in filtered.families(recipe, "laion")}


@pytest.fixture(scope="module")
def miniature() -> Recipe:
    return recipes.load("miniature")


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        ({"captions.rules.alphanumeric.min_ratio": 0.7}, set()),
        ({"captions.rules.perplexity.max_ppl": 10.0}, set()),
        ({"captions.rules.judge.min_yes": 0.9}, set()),
        ({"captions.rules.judge.batch_size": 3, "captions.rules.perplexity.batch_size": 5}, set()),
        ({"captions.rejected_share": [0.0, 1.0], "seed": 7, "threads": 2, "name": "other"}, set()),
        ({"captions.text_form": "bare"}, {"text_statistics"}),
        ({"captions.rules.word_repetition.rep_len": 5}, {"text_statistics"}),
        ({"captions.rules.judge.prompt": "{caption}?"}, {"judge"}),
        ({"captions.rules.judge.model.dtype": "bfloat16"}, {"judge"}),
        ({"captions.rules.perplexity.model.id": "package:synthvlm_miniature/models/clip"}, {"perplexity"}),
    ],
)
def test_each_measurement_has_a_definition_of_its_own(
    miniature: Recipe, edited: Edit, change: dict[str, object], moved: set[str]
) -> None:
    before, after = definitions(miniature), definitions(edited(miniature, change))
    assert set(before) == {"text_statistics", "perplexity", "judge", "image_text_similarity"}
    assert {name for name in before if before[name] != after[name]} == moved


@pytest.mark.model
def test_a_mended_text_statistic_asks_no_model_again(
    store: Store, small_recipe: Recipe, miniature: Recipe, edited: Edit, monkeypatch: pytest.MonkeyPatch
) -> None:
    rules = miniature.model_dump(mode="json")["captions"]["rules"]
    recipe = edited(small_recipe, {"captions.rules": rules, "captions.rules.perplexity.max_ppl": 1e9})
    RawCaptions(store, recipe, "laion").make()
    first = stage(store, recipe).make()
    assert first["measured_by_family"] == {"text_statistics": 6, "perplexity": 4, "judge": 4}
    monkeypatch.setattr(text_statistics, "VERSION", text_statistics.VERSION + 1)
    for scorer in ("perplexities", "judge_yes"):
        monkeypatch.setattr(language, scorer, None)  # asking would fail
    again = stage(store, recipe).make()
    assert again["measured_by_family"] == {"text_statistics": 6, "perplexity": 0, "judge": 0}
    assert again["content_hash"] == first["content_hash"]


def test_real_captions(store: Store, small_recipe: Recipe, edited: Edit, real_data: Path) -> None:
    sources = [
        {"name": "laion", "format": "laion", "files": ["laion_style/*.parquet"]},
        {"name": "cc", "format": "cc3m", "files": ["cc/*.tsv"]},
        {"name": "flickr", "format": "img2dataset", "files": ["flickr8k/*.tar"]},
    ]
    recipe = edited(small_recipe, {"folder": str(real_data), "sources": sources})
    for source in recipe.sources:
        read = RawCaptions(store, recipe, source.name).make()
        decided = stage(store, recipe, source.name).make()
        assert decided["rows"] == read["rows"]
        assert decided["rows"] == decided["kept"] + decided["rejected"] + decided["merged"]
        assert decided["kept"] > 0
