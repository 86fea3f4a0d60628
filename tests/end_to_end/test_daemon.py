"""The sensor through the real daemon, and an edit of the recipe file while runs are coming."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from synthvlm_assets.settings import RECIPE_TAG
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k

PAIRS = ("raw_captions", "filtered_captions", "synthetic_images", "scored_pairs")


def succeeded(deployment, count: int) -> Callable[[], bool]:
    return lambda: [run["status"] for run in deployment.runs()].count("SUCCESS") >= count


def test_new_files_are_read_by_themselves(deployment) -> None:
    deployment.graphql(
        "mutation($s: SensorSelector!) {startSensor(sensorSelector: $s) {__typename}}",
        s={"repositoryLocationName": "synthvlm", "repositoryName": "__repository__", "sensorName": "source_files"},
    )
    deployment.wait(succeeded(deployment, 2), "both sources to be read")
    recipe: Recipe = deployment.recipe()
    assert FilteredCaptions(deployment.store, recipe, "cc").raw.manifest["rows"] == 4
    (deployment.source_files / "more.tsv").write_bytes(b"a black ring on sand\thttps://example.com/m.jpg\n")
    deployment.wait(succeeded(deployment, 3), "the new file to be read")
    assert FilteredCaptions(deployment.store, recipe, "cc").manifest["rows"] == 5
    partitions = [run["tags"]["dagster/partition"] for run in deployment.runs()]
    assert sorted(partitions) == ["cc", "cc", "laion"]


def test_an_edit_of_the_recipe_waits_for_a_reload(deployment) -> None:
    before: Recipe = deployment.recipe()

    def stricter(values: dict) -> None:
        [rule] = [rule for rule in values["captions"]["rules"] if rule["rule"] == "alphanumeric"]
        rule["min_ratio"] = 0.75

    deployment.edit(stricter)
    after: Recipe = deployment.recipe()
    run = deployment.finished(deployment.launch("laion"))
    assert run["status"] == "SUCCESS"
    assert run["tags"][RECIPE_TAG] == before.hash
    deployment.graphql(
        'mutation {reloadRepositoryLocation(repositoryLocationName: "synthvlm") {__typename}}',
    )
    run = deployment.finished(deployment.launch("laion"))
    assert run["status"] == "SUCCESS"
    assert run["tags"][RECIPE_TAG] == after.hash
    decided = FilteredCaptions(deployment.store, after, "laion").manifest
    assert decided["measured"] == 0
    assert decided["kept"] < FilteredCaptions(deployment.store, before, "laion").manifest["kept"]


RELOAD = (
    'mutation {reloadRepositoryLocation(repositoryLocationName: "synthvlm") {... on WorkspaceLocationEntry'
    " {locationOrLoadError {__typename ... on PythonError {causes {message}}}}}}"
)
STATUS = (
    '{assetNodeOrError(assetKey: {path: ["raw_captions"]}) {... on AssetNode {assetPartitionStatuses'
    " {... on DefaultPartitionStatuses {materializedPartitions failedPartitions}}}}}"
)


def test_a_recipe_of_another_name_loads_nothing_and_turns_nothing_red(deployment) -> None:
    """One instance, one recipe: the message stands where the definitions were, until the name is what it was."""
    assert deployment.finished(deployment.launch("laion"))["status"] == "SUCCESS"

    def reloaded(name: str) -> dict[str, Any]:
        deployment.edit(lambda values: values.update(name=name))
        return deployment.graphql(RELOAD)["reloadRepositoryLocation"]["locationOrLoadError"]

    [cause] = reloaded("other")["causes"]
    assert "holds the history of recipe 'small', and 'other' is to run; use another DAGSTER_HOME" in cause["message"]
    answer = deployment.graphql(**deployment.launching("laion"))["launchPipelineExecution"]
    assert answer["__typename"] != "LaunchRunSuccess"
    assert len(deployment.runs()) == 1
    assert reloaded("small") == {"__typename": "RepositoryLocation"}
    sound = deployment.graphql(STATUS)["assetNodeOrError"]["assetPartitionStatuses"]
    assert sound == {"materializedPartitions": ["laion"], "failedPartitions": []}


NONSENSE = (
    "the mayor opens the new bridge over the river in spring",
    "four teachers discuss the history of European railways",
    "a bowl of soup with carrots and noodles on the table",
)
"""Captions that pass every rule on text and that no miniature model can picture."""


def test_a_failing_source_holds_back_set_and_training_until_it_is_mended(
    deploy: Callable, small_recipe: Recipe, four_sources: Recipe, edited: Callable, source_files: Path
) -> None:
    """Dagster builds the set behind a failed partition anyway: the set itself must refuse."""
    (source_files / "cc.tsv").write_text("".join(f"{text}\thttps://example.com/{text[:3]}\n" for text in NONSENSE))
    recipe = edited(
        four_sources.model_copy(update={"captions": small_recipe.captions, "sources": small_recipe.sources}),
        {
            "name": "failing",
            "selection.size": 4,
            "selection.source_thresholds": {"mean": {"clip_score": 0.3}},
            "training.automatic": True,
            "training.variants": [
                {**four_sources.training.variants[0].model_dump(mode="json"), "name": "one", "automatic": True}
            ],
        },
    )
    [variant] = recipe.training.variants
    running = deploy(recipe)
    running.backfill(*PAIRS)  # ends well in Dagster's eyes: all four assets are there, only a check is red
    failed = {run["tags"].get("dagster/partition", ""): run["runId"] for run in running.runs("FAILURE")}
    assert set(failed) == {"cc"}
    assert running.backfill("synthvlm_100k") == "COMPLETED_FAILED"
    assert not [run for run in running.runs() if run["tags"].get("dagster/partition") == variant.name]
    failed = {run["tags"].get("dagster/partition", ""): run["runId"] for run in running.runs("FAILURE")}
    assert set(failed) == {"cc", "synthvlm", "random"}
    assert "mean clip score" in running.why(failed["synthvlm"])
    assert running.store.files(running.store.path("releases", recipe.name), ".json") == []

    (source_files / "cc.tsv").write_text("a large blue circle on a grey background\thttps://example.com/b\n")
    assert running.backfill(*PAIRS) == "COMPLETED_SUCCESS"
    assert running.backfill("synthvlm_100k") == "COMPLETED_SUCCESS"
    sources = Synthvlm100k(running.store, running.recipe(), "synthvlm").manifest["report"]["sources"]
    assert {name: found["available"] for name, found in sources.items()} == {"laion": 4, "cc": 1}

    def trained() -> bool:
        partitions = '{assetNodeOrError(assetKey: {path: ["projector_checkpoint"]}) {... on AssetNode'
        partitions += " {assetPartitionStatuses {... on DefaultPartitionStatuses {materializedPartitions}}}}}"
        found = running.graphql(partitions)["assetNodeOrError"]["assetPartitionStatuses"]
        return found["materializedPartitions"] == [variant.name]

    running.wait(trained, "the retraining sensor to train on the released set", 300)
