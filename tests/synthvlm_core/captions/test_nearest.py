"""The captions next to a threshold, as a plain sort finds them."""

from collections.abc import Callable
from pathlib import Path

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.nearest import counted_most, nearest
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]


def test_examples_are_the_nearest_on_either_side(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    counts = [n * 37 % 23 + 1 for n in range(60)]
    texts = [f"{'x ' * (count - 1)}{number:02d}" for number, count in enumerate(counts)]
    (source_files / "many.csv").write_text("text\n" + "\n".join(texts))
    source = {"name": "many", "format": "csv", "files": ["many.csv"], "columns": {"text": "text"}}
    rule = {"rule": "word_count", "min_words": 5, "max_words": 12}
    recipe = edited(small_recipe, {"sources": [source], "captions.rules": [rule]})
    RawCaptions(store, recipe, "many").make()
    stage = FilteredCaptions(store, recipe, "many")
    stage.make(shard_rows=7)
    found = nearest(stage, per_side=4)["word_count"]
    rows = list(zip(texts, counts, strict=True))
    kept = sorted((row for row in rows if 5 <= row[1] <= 12), key=lambda row: min(row[1] - 5, 12 - row[1]))
    rejected = sorted((row for row in rows if not 5 <= row[1] <= 12), key=lambda row: max(5 - row[1], row[1] - 12))
    assert found == {"kept": kept[:4], "rejected": rejected[:4]}


def test_a_rule_that_nothing_breaks_has_one_side(store: Store, small_recipe: Recipe) -> None:
    RawCaptions(store, small_recipe, "laion").make()
    stage = FilteredCaptions(store, small_recipe, "laion")
    stage.make()
    found = nearest(stage, per_side=2)
    assert list(found) == [rule["name"] for rule in stage.manifest["rules"]]
    assert len(found["alphanumeric"]["kept"]) == 2
    [(text, value)] = found["character_repetition"]["rejected"]
    assert text.startswith("buy now")
    assert value > 0.09373663
    assert found["word_repetition"]["rejected"] == []


def test_the_words_that_rejected_most_are_told(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    texts = ["a getty watermark", "watermark, watermark", "Watermark", "a red ball", "naked shutterstock"]
    (source_files / "many.csv").write_text("text\n" + "\n".join(f'"{text}"' for text in texts))
    (source_files / "bad.txt").write_text("naked\nball\n")
    source = {"name": "many", "format": "csv", "files": ["many.csv"], "columns": {"text": "text"}}
    rules = [
        {"rule": "flagged_words", "words": "bad.txt", "max_ratio": 0.0},
        {"rule": "blocklist", "words": "stock-photos"},
        {"rule": "word_count", "max_words": 9},
    ]
    recipe = edited(small_recipe, {"sources": [source], "captions.rules": rules})
    RawCaptions(store, recipe, "many").make()
    stage = FilteredCaptions(store, recipe, "many")
    stage.make()
    assert counted_most(stage) == [
        ("flagged_words", "ball", 1),
        ("flagged_words", "naked", 1),
        ("blocklist", "watermark", 3),
        ("blocklist", "getty", 1),
    ]
    assert counted_most(stage, most=1)[-1] == ("blocklist", "watermark", 3)
