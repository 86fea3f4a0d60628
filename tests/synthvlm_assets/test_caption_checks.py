"""Checks in Dagster: per partition, with numbers, blocking where they must. What each finds: synthvlm_core's tests."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

EXPECTED = {
    "raw_captions": {"every_input_row_is_stored", "few_rows_are_quarantined", "ids_are_sound", "shards_are_undamaged"},
    "filtered_captions": {
        "rows_add_up",
        "kept_captions_pass_every_rule",
        "ids_are_sound",
        "shards_are_undamaged",
        "rejected_share_is_usual",
    },
}


def evaluations(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dg.AssetCheckEvaluation]:
    return {(e.asset_key.to_user_string(), e.check_name): e for e in result.get_asset_check_evaluations()}


def test_every_check_reports_its_partition_and_numbers(location) -> None:
    found = evaluations(location.run("laion"))
    assert {asset: {name for key, name in found if key == asset} for asset in EXPECTED} == EXPECTED
    for evaluation in found.values():
        assert evaluation.passed or evaluation.check_name == "rejected_share_is_usual"
        assert evaluation.metadata
        assert evaluation.description
    assert {evaluation.partition for evaluation in found.values()} == {"laion"}
    assert found["filtered_captions", "rejected_share_is_usual"].metadata["share"].value == 0.3333, "two of six"


def test_a_failed_check_stops_what_follows_in_the_run(
    location, store: Store, small_recipe: Recipe, capfd: pytest.CaptureFixture[str]
) -> None:
    """A shard of raw_captions is damaged between two runs; only the checks and the filtered captions run again."""
    assert location.run("laion").success
    [(_, parts)] = RawCaptions(store, small_recipe, "laion").files()
    folder, [shard] = parts["captions"]
    Path(folder.path, shard.name).write_bytes(b"")
    job = dg.Definitions.merge(
        location.definitions,
        dg.Definitions(
            jobs=[
                dg.define_asset_job(
                    "checks_then_filtered",
                    dg.AssetSelection.checks_for_assets("raw_captions") | dg.AssetSelection.assets("filtered_captions"),
                )
            ]
        ),
    ).resolve_job_def("checks_then_filtered")
    result = job.execute_in_process(partition_key="laion", instance=location.instance, raise_on_error=False)
    assert not result.success
    assert not evaluations(result)["raw_captions", "shards_are_undamaged"].passed
    assert result.asset_materializations_for_node("filtered_captions") == []
    terminal = capfd.readouterr().err
    assert terminal.count("FAILED") == sum(not found.passed for found in evaluations(result).values()), "once each"
    assert "Stack Trace" not in terminal


def test_an_unusual_share_only_warns(
    locate, small_recipe: Recipe, edited: Callable[[Recipe, dict[str, object]], Recipe]
) -> None:
    result = locate(edited(small_recipe, {"captions.rejected_share": [0.0, 0.1]})).run("laion")
    share = evaluations(result)["filtered_captions", "rejected_share_is_usual"]
    assert result.success
    assert not share.passed
    assert share.severity == dg.AssetCheckSeverity.WARN
