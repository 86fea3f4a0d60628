"""The sensor tick by tick; the daemon turning ticks into runs is tested in end_to_end."""

from pathlib import Path

import dagster as dg

from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


def tick(location) -> dict[str, dg.RunRequest]:
    sensor = location.definitions.resolve_sensor_def("source_files")
    with dg.build_sensor_context(
        instance=location.instance,
        definitions=location.definitions,
        resources={"settings": location.definitions.resources["settings"]},
    ) as context:
        found = list(sensor.evaluate_tick(context).run_requests or [])
    return {str(request.partition_key): request for request in found}


def test_new_sources_are_requested_until_they_are_read(location, store: Store, small_recipe: Recipe) -> None:
    assert set(tick(location)) == {"laion", "cc"}
    RawCaptions(store, small_recipe, "laion").make()
    assert set(tick(location)) == {"cc"}
    RawCaptions(store, small_recipe, "cc").make()
    assert tick(location) == {}


def test_a_changed_file_is_requested_once_per_change(
    location, store: Store, small_recipe: Recipe, source_files: Path
) -> None:
    RawCaptions(store, small_recipe, "laion").make()
    RawCaptions(store, small_recipe, "cc").make()
    (source_files / "cc.tsv").write_bytes(b"a black ring\thttps://example.com/1.jpg\n")
    first, again = tick(location)["cc"], tick(location)["cc"]
    assert first.run_key == again.run_key
    (source_files / "cc.tsv").write_bytes(b"a black ring and a red one\thttps://example.com/1.jpg\n")
    assert tick(location)["cc"].run_key != first.run_key


def test_a_missing_source_is_told_and_stops_no_other(location, source_files: Path) -> None:
    (source_files / "laion.parquet").unlink()
    assert set(tick(location)) == {"cc"}


def test_files_that_return_to_an_earlier_state_are_requested_again(
    location, source_files: Path, tmp_path: Path
) -> None:
    location.run("cc")
    (source_files / "more.tsv").write_bytes(b"a black ring\thttps://example.com/m.jpg\n")
    added = tick(location)["cc"].run_key
    location.run("cc")
    (source_files / "more.tsv").rename(tmp_path / "away.tsv")
    location.run("cc")
    (tmp_path / "away.tsv").rename(source_files / "more.tsv")
    assert tick(location)["cc"].run_key != added
