"""The sensor through the real daemon, and an edit of the recipe file while runs are coming."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from synthvlm_assets.settings import RECIPE_TAG
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.standing import State, looking

CHAIN = ("captions", "images", "set", "training")


def switched_on(four_sources: Recipe, small_recipe: Recipe, edited: Callable, **changes: Any) -> Recipe:
    """Two small sources, one set and one variant that is trained from the first set on; everything by itself."""
    [model, *_] = four_sources.training.variants
    return edited(
        four_sources.model_copy(update={"captions": small_recipe.captions, "sources": small_recipe.sources}),
        {
            "name": "switched-on",
            "automation": CHAIN,
            "generator.steps": 3,
            "selection.size": 8,
            "selection.sets": [{"name": "synthvlm", "by": "first_image"}],  # by lot: which enter is known
            "training.variants": [{**model.model_dump(mode="json"), "name": "one", "automatic": True}],
            **changes,
        },
    )


@pytest.mark.outside
def test_a_new_file_reaches_a_retrained_model_by_itself(
    deploy: Callable, small_recipe: Recipe, four_sources: Recipe, edited: Callable
) -> None:
    running = deploy(switched_on(four_sources, small_recipe, edited))
    recipe, store = running.recipe(), running.store

    def evaluated_on_another_set_than(content: str) -> Callable[[], str]:
        """The content of the set that the model is of, as soon as it is evaluated."""

        def found() -> str:
            made = Synthvlm100k(store, recipe, "synthvlm").last_made()
            done = looking()(Evaluation(store, recipe, "one")).state is State.CURRENT
            return made["content"] if done and made and made["content"] != content else ""

        return found

    first = running.wait(evaluated_on_another_set_than(""), "the first model", 400)
    kept = FilteredCaptions(store, recipe, "cc").manifest["kept"]
    (running.source_files / "more.tsv").write_bytes(b"a black ring on sand\thttps://example.com/m.jpg\n")
    second = running.wait(evaluated_on_another_set_than(first), "the model of the new set", 400)
    released = Synthvlm100k(store, recipe, "synthvlm").manifest
    assert released["content_hash"] == second
    assert released["report"]["sources"]["cc"]["available"] == kept + 1
    running.wait(lambda: {run["status"] for run in running.runs()} == {"SUCCESS"}, "the last run's checks")
    partitions = Counter(run["tags"]["dagster/partition"] for run in running.runs())
    assert partitions == {"laion": 2, "cc": 4, "synthvlm": 2, "one": 2}, "nothing ran that had nothing to do"


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


@pytest.mark.outside  # the whole chain twice: five minutes and more
def test_a_failing_source_stops_the_chain_before_the_set_until_its_file_is_mended(
    deploy: Callable, small_recipe: Recipe, four_sources: Recipe, edited: Callable, source_files: Path
) -> None:
    """And then, from the changed file to the evaluated model, nobody clicks."""
    (source_files / "cc.tsv").write_text("".join(f"{text}\thttps://example.com/{text[:3]}\n" for text in NONSENSE))
    thresholds = {"selection.source_thresholds": {"mean": {"clip_score": 0.3}}, "selection.size": 4}
    running = deploy(
        switched_on(
            four_sources, small_recipe, edited, **{**thresholds, "generator.steps": four_sources.generator.steps}
        )
    )
    recipe, store = running.recipe(), running.store
    running.wait(
        lambda: "not passed: scores_reach_the_thresholds of scored_pairs/cc" in running.ticks("releasing"), "it"
    )
    [failed] = running.runs("FAILURE")
    assert failed["tags"]["dagster/partition"] == "cc"
    assert "scores_reach_the_thresholds" in running.why(failed["runId"])
    assert {run["tags"]["dagster/partition"] for run in running.runs()} == {"laion", "cc"}
    # a person who builds the set all the same: Dagster would, behind a failed partition
    assert running.backfill("synthvlm_100k") == "COMPLETED_FAILED"
    [refused] = [run for run in running.runs("FAILURE") if run["tags"]["dagster/partition"] == "synthvlm"]
    assert "mean clip score" in running.why(refused["runId"])
    assert store.files(store.path("releases", recipe.name), ".json") == []

    (source_files / "cc.tsv").write_text("a large blue circle on a grey background\thttps://example.com/b\n")
    running.wait(lambda: looking()(Evaluation(store, recipe, "one")).state is State.CURRENT, "a model", 300)
    sources = Synthvlm100k(store, recipe, "synthvlm").manifest["report"]["sources"]
    assert {name: found["available"] for name, found in sources.items()} == {"laion": 4, "cc": 1}
