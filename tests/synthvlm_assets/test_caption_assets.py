import re
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store import records
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]


def failure(result: dg.ExecuteInProcessResult) -> str:
    """What the UI shows of a failed step."""
    [event] = [event for event in result.all_events if event.is_step_failure]
    data = event.step_failure_data
    return f"{data.error} {data.user_failure_data}"


def terminal(capfd: pytest.CaptureFixture[str]) -> list[str]:
    """The lines of a run, without the time of day."""
    return [re.sub(r"^\d\d:\d\d:\d\d  ", "", line) for line in capfd.readouterr().err.splitlines()]


def test_a_source_flows_from_files_to_a_filtered_table(location, store: Store, small_recipe: Recipe) -> None:
    result = location.run("laion")
    assert result.success
    kept = location.latest("filtered_captions")
    assert kept.partition == "laion"
    assert kept.metadata["kept"].value == 4
    assert kept.metadata["rejected"].value == 2
    assert kept.metadata["recipe"].value == "small"
    manifest = FilteredCaptions(store, small_recipe, "laion").manifest
    assert kept.tags["dagster/data_version"] == manifest["content_hash"]
    assert kept.tags["dagster/code_version"] == FilteredCaptions.code_version(small_recipe)
    assert location.latest("raw_captions").metadata["quarantined"].value == 1


def test_the_worker_reports_counts_and_progress_through_pipes(location, capfd: pytest.CaptureFixture[str]) -> None:
    result = location.run("laion")
    assert location.latest("filtered_captions").metadata["kept"].value == 4
    logs = [event.message for event in location.instance.all_logs(result.run_id)]
    assert any("text_statistics: 6 of 6" in (message or "") for message in logs)
    lines = terminal(capfd)
    assert lines[:3] == [
        "raw_captions of laion: files: laion.parquet: 0 of 1",
        "raw_captions of laion: files: 1 of 1",
        "raw_captions of laion: made",
    ]
    assert "raw_captions_checks of laion: every_input_row_is_stored passed: all 8 rows of 1 files" in lines
    assert re.fullmatch(r"curate_captions of laion: done in \d+ s", lines[-1])
    assert all(re.match(r"(raw|filtered|curate)_captions(_checks)? of laion: ", line) for line in lines), lines


def test_a_picture_and_harmless_examples_are_shown(location, source_files: Path) -> None:
    hostile = "<img src=x onerror=alert(1)> a red [circle](javascript:alert(1)) \u202e | and a blue square `here`"
    harmless = hostile.replace("\u202e", "␣")
    (source_files / "cc.tsv").write_text(f"{hostile}\thttps://example.com/1.jpg\n{hostile} without an address\n")
    assert location.run("cc").success
    read = location.latest("raw_captions").metadata
    assert cells(read["some captions"]) == [{"file": "cc.tsv", "row": 0, "text": harmless}]
    refused = {"file": "cc.tsv", "row": 1, "reason": "not 2 columns", "content": f"{harmless} without an address"}
    assert cells(read["some quarantined rows"]) == [refused]
    metadata = location.latest("filtered_captions").metadata
    assert metadata["histograms"].value.startswith("![](data:image/png;base64,")
    assert len(metadata["histograms"].value) < 150_000
    assert {row["caption"] for row in cells(metadata["nearest to the thresholds"])} == {harmless}
    pictures = [key for key, value in metadata.items() if isinstance(value, dg.MarkdownMetadataValue)]
    assert pictures == ["funnel", "histograms"]
    assert "rules not applied" not in metadata, "no empty table"


def cells(shown: dg.MetadataValue) -> list[dict[str, object]]:
    """The rows of a table, which the UI shows as text that is not read for markup."""
    assert isinstance(shown, dg.TableMetadataValue)
    return [dict(record.data) for record in shown.records]


def test_column_schemas_are_those_of_the_record_types(location) -> None:
    specs = {spec.key.to_user_string(): spec for spec in location.definitions.resolve_all_asset_specs()}
    for table in (records.RAW_CAPTIONS, records.FILTERED_CAPTIONS):
        schema = specs[table.name].metadata["dagster/column_schema"]
        assert [column.name for column in schema.columns] == table.schema.names
        assert all(column.description for column in schema.columns)


def test_an_unreadable_file_fails_in_words_and_is_not_retried(location, source_files: Path) -> None:
    (source_files / "laion.parquet").write_bytes(b"PAR1 torn")
    result = location.run("laion")
    assert not result.success
    assert "laion.parquet" in failure(result)
    assert not any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
    told = [event for event in result.all_events if event.is_failure]
    assert [event.event_type_value for event in told] == ["STEP_FAILURE", "PIPELINE_FAILURE"]
    assert [event.event_specific_data.error.stack for event in told] == [[], []], "no traceback in the UI"


def test_a_failure_in_the_worker_is_told_in_its_own_words(location, small_recipe, edited: Edit, locate) -> None:
    recipe = edited(small_recipe, {"captions.rules.flagged_words.words": "nowhere.txt"})
    result = locate(recipe).run("laion")
    assert "nowhere.txt" in failure(result)


def test_a_killed_worker_is_retried_and_the_result_is_that_of_a_clean_run(
    location, store: Store, small_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_hook
) -> None:
    """The worker kills itself with SIGKILL after its first shard; Dagster starts it again."""
    marker = tmp_path / "killed"
    code = f"""
        import os, pathlib, signal
        from synthvlm_core.store import shards
        marker, put = pathlib.Path({str(marker)!r}), shards.Folder.put
        def once(self, *arguments, **options):
            put(self, *arguments, **options)
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if not marker.exists():
            shards.Folder.put = once
        """
    monkeypatch.setenv("PYTHONPATH", worker_hook(tmp_path / "hook", code))
    result = location.run("laion")
    assert marker.exists()
    assert any(event.event_type_value == "STEP_UP_FOR_RETRY" for event in result.all_events)
    assert result.success
    monkeypatch.delenv("PYTHONPATH")
    clean = Store(str(tmp_path / "clean"))
    uninterrupted = FilteredCaptions(clean, small_recipe, "laion")
    uninterrupted.raw.make()
    uninterrupted.make()
    interrupted = FilteredCaptions(store, small_recipe, "laion")
    assert interrupted.manifest["content_hash"] == uninterrupted.manifest["content_hash"]


def test_an_edit_marks_exactly_the_touched_assets(location, locate, small_recipe: Recipe, edited: Edit) -> None:
    def versions(recipe: Recipe) -> dict[str, str | None]:
        specs = locate(recipe).definitions.resolve_all_asset_specs()
        return {spec.key.to_user_string(): spec.code_version for spec in specs}

    before = versions(small_recipe)

    def touched(change: dict[str, object]) -> set[str]:
        after = versions(edited(small_recipe, change))
        return {key for key in before if before[key] != after[key]}

    assert touched({"captions.rules.alphanumeric.min_ratio": 0.7}) == {"filtered_captions"}
    assert touched({"generator.guidance_scale": 3.0}) == {"synthetic_images"}
    assert touched({"selection.weights.ssim": 0.7}) == {"synthvlm_100k"}
    assert touched({"training.finetune.learning_rate": 1.0e-4}) == {"vlm_checkpoint"}


def test_another_lineage_is_refused(location, locate, small_recipe: Recipe) -> None:
    assert location.run("laion").success
    result = locate(small_recipe.model_copy(update={"name": "other"})).run("laion")
    assert "use another DAGSTER_HOME" in failure(result)


def test_a_crash_in_the_worker_shows_its_traceback(
    location, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, worker_hook, capfd: pytest.CaptureFixture[str]
) -> None:
    code = """
        from synthvlm_core.captions.filtered import FilteredCaptions
        def make(*arguments, **options):
            raise RuntimeError('the cable was pulled')
        FilteredCaptions.make = make
        """
    monkeypatch.setenv("PYTHONPATH", worker_hook(tmp_path / "hook", code))
    result = location.run("laion")
    assert not result.success
    logged = [event.to_json() for event in location.instance.all_logs(result.run_id)]
    assert any("the cable was pulled" in entry for entry in logged)
    lines = terminal(capfd)
    assert lines.count("RuntimeError: the cable was pulled") == 3, "each try, and nobody says it again"
    died = "The worker of filtered_captions of 'laion' ended with status 1. What it did last: starting. "
    told = [line for line in lines if died in line]
    assert [line.partition(": ")[2].partition(": ")[0] for line in told] == ["is tried again"] * 2 + ["FAILED"]
    assert sum("Traceback" in line for line in lines) == 3
