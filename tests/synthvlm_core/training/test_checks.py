import json
import math
from collections.abc import Callable

import pytest
import torch
from safetensors.torch import load, save
from tiny_vlm import VARIANT

from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import Product
from synthvlm_core.training import checks
from synthvlm_core.training.aligned import PROJECTOR, ProjectorCheckpoint
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_core.training.tuned import VlmCheckpoint

WEIGHTS = {ProjectorCheckpoint: PROJECTOR, VlmCheckpoint: "model.safetensors"}


@pytest.fixture(params=WEIGHTS)
def stage_of(request: pytest.FixtureRequest, released: Store, tiny_recipe: Recipe) -> Callable[[], Checkpoint]:
    """Makes both checkpoints; each call gives a new stage object, as another process has one."""
    for made in (ProjectorCheckpoint, VlmCheckpoint):
        made(released, tiny_recipe, VARIANT).make()
    return lambda: request.param(released, tiny_recipe, VARIANT)


def sealed_again(stage: Checkpoint, change: Callable[[str, torch.Tensor], torch.Tensor]) -> None:
    """Weights as a training that went wrong would have left them, sealed by a manifest that agrees."""
    name = WEIGHTS[type(stage)]
    state = {key: change(key, value) for key, value in load(stage.product.get(name)).items()}
    product = Product(stage.store, stage.path, files=dict(stage.product.files))
    product.put(name, save(state, {"format": "pt"}))
    product.seal({key: value for key, value in stage.manifest.items() if key != "files"})


def test_sound_checkpoints_pass_and_tampered_ones_do_not(stage_of: Callable[[], Checkpoint]) -> None:
    stage = stage_of()
    name = WEIGHTS[type(stage)]
    assert checks.files_match_manifest(stage).passed
    assert checks.checkpoint_loads_and_answers(stage).passed, checks.checkpoint_loads_and_answers(stage).summary

    path = f"{stage.path}/{name}"
    whole = stage.store.get(path)
    stage.store.replace(path, whole[: len(whole) // 2])
    assert f"{name} has other bytes" in checks.files_match_manifest(stage_of()).summary
    assert "does not load: DamagedProduct" in checks.checkpoint_loads_and_answers(stage_of()).summary
    stage.store.fs.rm(path)
    assert f"{name} is missing" in checks.files_match_manifest(stage_of()).summary
    assert not checks.files_match_manifest(stage_of()).passed
    assert not checks.checkpoint_loads_and_answers(stage_of()).passed
    stage.store.fs.rm(stage.manifest_path)
    for check in (checks.files_match_manifest, checks.loss_fell, checks.checkpoint_loads_and_answers):
        with pytest.raises(NotMaterialized, match="materialize"):
            check(stage_of())


def test_weights_that_are_no_numbers_do_not_pass(stage_of: Callable[[], Checkpoint]) -> None:
    sealed_again(
        stage_of(), lambda name, value: torch.full_like(value, math.nan) if "linear_1.weight" in name else value
    )
    assert checks.files_match_manifest(stage_of()).passed
    finding = checks.checkpoint_loads_and_answers(stage_of())
    assert not finding.passed
    assert "1 weights are no numbers, the first model.multi_modal_projector.linear_1.weight" in finding.summary


def test_a_model_that_says_nothing_does_not_pass(stage_of: Callable[[], Checkpoint]) -> None:
    if not isinstance(stage_of(), VlmCheckpoint):
        pytest.skip("a projector says nothing")
    # all logits equal: the first token, which is the padding, and nothing else
    sealed_again(stage_of(), lambda name, value: torch.zeros_like(value) if "lm_head" in name else value)
    finding = checks.checkpoint_loads_and_answers(stage_of())
    assert not finding.passed
    assert "0 of 8 questions answered" in finding.summary


def test_the_loss_must_fall(stage_of: Callable[[], Checkpoint]) -> None:
    stage = stage_of()
    assert checks.loss_fell(stage).passed
    for losses in ([1.0, 2.0], [2.0, 2.0]):
        stage.store.put_json(stage.manifest_path, {**stage.manifest, "losses": losses})
        assert not checks.loss_fell(stage_of()).passed
    for losses in ([], [2.0, math.inf, 1.0], [2.0, math.nan], ["2.0"]):
        stage.store.replace(stage.manifest_path, json.dumps({**stage.manifest, "losses": losses}).encode())
        with pytest.raises(Mendable, match=r"manifest\.json: not what it should be: losses"):
            checks.loss_fell(stage_of())
