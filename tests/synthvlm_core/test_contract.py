"""The contract of the store: any interleaving of kills, shard sizes, writers and recipe edits gives the tables of one
clean run. A kill is an exception between any two writes, before or after the object appeared."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pytest
from harness import Killed, Mortal
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.captions.filtered import TABLES, FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.hashing import content_hash
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
EDITS: dict[str, dict[str, object]] = {
    "none": {},
    "a threshold": {"captions.rules.alphanumeric.min_ratio": 0.75},
    "a definition": {"captions.rules.word_repetition.rep_len": 3},
    "a rule less": {"captions.rules.character_repetition": None},
    "a reader": {"sources.cc.max_characters": 60},
}


def run(store: Store, recipe: Recipe, shard_rows: int) -> None:
    for source in recipe.sources:
        RawCaptions(store, recipe, source.name).make(shard_rows=shard_rows)
        FilteredCaptions(store, recipe, source.name).make(shard_rows=shard_rows)


def outcome(store: Store, recipe: Recipe) -> dict[str, object]:
    """Hashes and whole tables, without the names of shards."""
    found: dict[str, object] = {}
    for source in recipe.sources:
        stage = FilteredCaptions(store, recipe, source.name)
        found[f"{source.name} raw"] = stage.raw.manifest["content_hash"]
        found[f"{source.name} filtered"] = stage.manifest["content_hash"]
        for name, rows in (("kept", stage.kept()), ("rejected", stage.rejected())):
            table = pa.concat_tables([TABLES[name].schema.empty_table(), *rows])
            found[f"{source.name} {name}"] = (content_hash([table]), table["caption_id"].to_pylist())
    return found


attempts = st.lists(
    st.tuples(st.integers(1, 5), st.integers(0, 14), st.booleans(), st.sampled_from(list(EDITS))),
    max_size=4,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts=attempts, last_shard_rows=st.integers(1, 100))
def test_any_interleaving_gives_the_tables_of_one_clean_run(
    tmp_path_factory, small_recipe: Recipe, edited: Edit, attempts: list[tuple], last_shard_rows: int
) -> None:
    folder = tmp_path_factory.mktemp("contract")
    clean = Store(str(folder / "clean"))
    run(clean, small_recipe, 50)

    url = str(folder / "eventful")
    for shard_rows, writes, after, edit in attempts:
        with suppress(Killed):
            run(Mortal(url, writes, after=after), edited(small_recipe, EDITS[edit]), shard_rows)
    eventful = Store(url)
    run(eventful, small_recipe, last_shard_rows)
    assert outcome(eventful, small_recipe) == outcome(clean, small_recipe)
    assert not list(Path(url).rglob("*.tmp"))


def test_a_kill_at_every_single_write_is_mended(tmp_path: Path, small_recipe: Recipe, edited: Edit) -> None:
    recipe = edited(small_recipe, {"sources.cc": None})
    clean = Mortal(str(tmp_path / "clean"), 1000)
    run(clean, recipe, 3)
    expected, needed = outcome(clean, recipe), 1000 - clean.writes
    assert needed > 8
    for writes in range(needed):
        for after in (False, True):
            url = str(tmp_path / f"{writes} {after}")
            with pytest.raises(Killed):
                run(Mortal(url, writes, after=after), recipe, 3)
            run(Store(url), recipe, 3)
            assert outcome(Store(url), recipe) == expected


def test_two_writers_at_once_end_right(tmp_path: Path, small_recipe: Recipe) -> None:
    clean = Store(str(tmp_path / "clean"))
    run(clean, small_recipe, 50)
    url = str(tmp_path / "shared")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda shard_rows: run(Store(url), small_recipe, shard_rows), (1, 1, 3, 100)))
    assert outcome(Store(url), small_recipe) == outcome(clean, small_recipe)
