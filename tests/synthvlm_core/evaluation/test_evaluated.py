import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tiny_vlm import VARIANT, release

from synthvlm_core import graph, hashing
from synthvlm_core.errors import NotMaterialized
from synthvlm_core.evaluation import checks, evaluated
from synthvlm_core.evaluation.evaluated import Evaluation, NothingToAsk
from synthvlm_core.findings import Finding
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct
from synthvlm_miniature.making import benchmark

OUTSIDE = {"benchmark": "lmms_eval", "name": "pope", "task": "pope"}


@pytest.fixture
def trained(released: Store, tiny_recipe: Recipe) -> Store:
    """A store with the checkpoints of the first variant."""
    checkpoint = Evaluation(released, tiny_recipe, VARIANT).checkpoint
    checkpoint.aligned.make()
    checkpoint.make()
    return released


def with_benchmarks(recipe: Recipe, *more: dict[str, object]) -> Recipe:
    values = json.loads(loading.dumps(recipe))
    values["evaluation"]["benchmarks"] += more
    return loading.loads(json.dumps(values))


def test_a_checkpoint_is_evaluated_once(trained: Store, tiny_recipe: Recipe) -> None:
    stage = Evaluation(trained, tiny_recipe, VARIANT)
    with pytest.raises(NotMaterialized, match=r"evaluation of 'synthvlm-mini' .*materialize"):
        _ = stage.manifest
    steps: list[tuple[str, int, int]] = []
    result = stage.make(lambda *step: steps.append(step))
    assert steps[-1] == ("questions", 16, 16)
    assert result["benchmarks"]["miniature"]["overall"]["n"] == 16
    assert result["benchmarks"]["miniature"]["by_split"].keys() == {"test", "held_out"}
    assert result["not_applied"] == {}
    language = result["language"]
    assert language["ratio"] == pytest.approx(language["after"] / language["before"])
    assert language["low"] <= language["ratio"] <= language["high"]
    assert language["n"] == 6
    again = Evaluation(trained, tiny_recipe, VARIANT)
    assert again.manifest == result
    steps.clear()
    assert again.make(lambda *step: steps.append(step)) == result
    assert not steps


def test_what_was_asked_is_not_asked_again_when_a_benchmark_joins(
    trained: Store, tiny_recipe: Recipe, asked: Path
) -> None:
    first = Evaluation(trained, tiny_recipe, VARIANT)
    first.make()
    few = {"benchmark": "questions", "name": "few", "file": str(asked / "questions.jsonl"), "limit": 2}
    steps: list[tuple[str, int, int]] = []
    both = Evaluation(trained, with_benchmarks(tiny_recipe, few), VARIANT)
    result = both.make(lambda *step: steps.append(step))
    assert both.key != first.key
    assert steps[-1] == ("questions", 4, 4)
    assert len(steps) == 2, "one batch of the new benchmark"
    assert result["benchmarks"]["miniature"] == first.manifest["benchmarks"]["miniature"]
    assert result["language"] == first.manifest["language"]


def test_a_benchmark_that_cannot_run_is_told_and_the_others_run(trained: Store, tiny_recipe: Recipe) -> None:
    result = Evaluation(trained, with_benchmarks(tiny_recipe, OUTSIDE), VARIANT).make()
    assert result["benchmarks"].keys() == {"miniature"}
    assert "--tasks pope" in result["not_applied"]["pope"]
    assert evaluated.not_applied(loading.load("paper")).keys() >= {"pope", "mmlu", "scienceqa"}


def test_a_recipe_with_nothing_to_ask_ends_in_words(
    trained: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe]
) -> None:
    recipe = edited(tiny_recipe, {"evaluation.benchmarks": [OUTSIDE]})
    with pytest.raises(NothingToAsk, match=r"evaluation\.benchmarks: none .*pope: needs data"):
        Evaluation(trained, recipe, VARIANT).make()


def test_without_texts_no_language_is_measured(
    trained: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe]
) -> None:
    assert Evaluation(trained, edited(tiny_recipe, {"evaluation.texts": None}), VARIANT).make()["language"] is None


def test_the_key_follows_what_is_asked(trained: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    def key(recipe: Recipe) -> str:
        return Evaluation(trained, recipe, VARIANT).key

    base = key(tiny_recipe)
    assert key(edited(tiny_recipe, {"evaluation.batch_size": 3, "threads": 2, "name": "other"})) == base
    for other in (
        {"evaluation.max_new_tokens": 3},
        {"evaluation.texts": None},
        {"evaluation.benchmarks.miniature.limit": 1},
        {"evaluation.benchmarks.miniature.name": "other"},
    ):
        assert key(edited(tiny_recipe, other)) != base
    assert key(with_benchmarks(tiny_recipe, OUTSIDE)) != base, "what is not applied is told in the result"


def test_altered_weights_are_not_evaluated(trained: Store, tiny_recipe: Recipe) -> None:
    stage = Evaluation(trained, tiny_recipe, VARIANT)
    path = f"{stage.checkpoint.path}/model.safetensors"
    whole = trained.get(path)
    trained.replace(path, whole[:-4] + b"\0\0\0\0")
    with pytest.raises(DamagedProduct, match=r"model.safetensors has other bytes .*materialize vlm_checkpoint of"):
        stage.make()
    trained.fs.rm(path)
    with pytest.raises(DamagedProduct, match=r"model.safetensors is missing; materialize vlm_checkpoint of"):
        Evaluation(trained, tiny_recipe, VARIANT).make()
    assert not trained.files(stage.path, ".json")


def test_a_result_that_is_not_what_the_answers_give_is_noticed_and_mended(trained: Store, tiny_recipe: Recipe) -> None:
    before = Evaluation(trained, tiny_recipe, VARIANT).make()
    path = Evaluation(trained, tiny_recipe, VARIANT).manifest_path

    def noticed() -> Finding:
        return graph.look(Evaluation(trained, tiny_recipe, VARIANT), checks.accuracies_are_of_the_answers)

    assert noticed().passed
    forged = json.loads(trained.get(path))
    [name] = forged["benchmarks"]
    forged["benchmarks"][name]["overall"]["accuracy"] = 1.0
    trained.put_json(path, forged)
    assert "its numbers are not those that were stored" in noticed().summary
    forged["content_hash"] = hashing.of_json({key: forged[key] for key in ("benchmarks", "not_applied", "language")})
    trained.put_json(path, forged)
    assert f"{name}: overall is not that of the answers" in noticed().summary
    delete = re.search(r"delete (\S+) and materialize evaluation of", noticed().summary)
    assert delete is not None
    shutil.rmtree(delete[1].removeprefix("file://"))
    assert Evaluation(trained, tiny_recipe, VARIANT).make() == before
    assert noticed().passed


def test_a_result_is_of_the_files_that_it_was_measured_on(trained: Store, tiny_recipe: Recipe) -> None:
    stage = Evaluation(trained, tiny_recipe, VARIANT)
    stage.make()
    # the same checkpoint trained again elsewhere, where rounding gave other weights
    manifest = json.loads(trained.get(stage.checkpoint.manifest_path))
    trained.put_json(stage.checkpoint.manifest_path, {**manifest, "content_hash": "f" * 32})
    again = Evaluation(trained, tiny_recipe, VARIANT)
    with pytest.raises(NotMaterialized):
        _ = again.manifest
    steps: list[tuple[str, int, int]] = []
    again.make(lambda *step: steps.append(step))
    assert steps[-1] == ("questions", 16, 16)


def test_variants_are_compared_once_both_are_evaluated(trained: Store, tiny_recipe: Recipe) -> None:
    mine = Evaluation(trained, tiny_recipe, VARIANT)
    mine.make()
    assert mine.comparisons() == {}
    release(trained, tiny_recipe, "random", first=100)
    control = Evaluation(trained, tiny_recipe, "random-mini")
    assert mine.comparisons() == {}
    control.checkpoint.aligned.make()
    control.checkpoint.make()
    control.make()
    found = mine.comparisons()["random-mini"]["miniature"]["overall"]
    assert found["n"] == 16
    assert found["low"] <= found["difference"] <= found["high"]
    assert control.comparisons()[VARIANT]["miniature"]["overall"]["difference"] == -found["difference"]


def test_examples_show_different_pictures_and_kinds(
    trained: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe], tmp_path: Path
) -> None:
    file, _, _ = benchmark.write(tmp_path / "more", {"test": 120}, captions=2)
    recipe = edited(tiny_recipe, {"evaluation.benchmarks.miniature.file": str(file)})
    stage = Evaluation(trained, recipe, VARIANT)
    result = stage.make()
    shown = stage.examples(6)
    assert len(shown) == 6
    assert len({example.kind for example in shown}) >= 5
    assert len({example.picture for example in shown}) == 6
    assert all(example.truth for example in shown)
    rows = {(row["question"], row["answer"], row["right"]) for row in result["benchmarks"]["miniature"]["answers"]}
    assert all((example.question, example.answer, example.right) in rows for example in shown)
    assert Image.open(io.BytesIO(shown[0].picture)).size == (64, 64)
