import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import Killed, killed_at
from tiny_vlm import VARIANT, release

from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.models import vlm
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct
from synthvlm_core.training.aligned import PROJECTOR, ProjectorCheckpoint
from synthvlm_core.training.tuned import VlmCheckpoint


def tuned(store: Store, recipe: Recipe, **more: Any) -> VlmCheckpoint:
    return VlmCheckpoint(store, recipe, VARIANT, **more)


def test_projector_and_language_model_are_trained_and_nothing_else(
    released: Store, tiny_recipe: Recipe, tiny_vlm: Vlm
) -> None:
    stage = tuned(released, tiny_recipe)
    first = stage.aligned.make()
    made = stage.make()
    assert made["text_only_rows"] == 3
    assert made["trained_parameters"] == made["parameters"]["projector"] + made["parameters"]["language_model"]
    assert made["inputs"] == {**first["inputs"], "projector": first["content_hash"]}

    with stage.product.local_folder() as folder:
        from transformers import LlavaForConditionalGeneration

        loaded = LlavaForConditionalGeneration.from_pretrained(folder)
    before = dict(tiny_vlm.model.named_parameters())
    changed: dict[str, set[bool]] = {"vision_tower": set(), "projector": set(), "language_model": set()}
    of = vlm.parts(loaded)
    for name, value in loaded.named_parameters():
        changed[of[name]].add(not torch.equal(value, before[name]))
    assert changed["vision_tower"] == {False}
    assert True in changed["language_model"]
    assert changed["projector"] == {True}
    assert not list(Path(released.path("work", "training")).glob("*/*")), "the work folder is gone"


def test_a_killed_run_ends_with_the_same_weights_and_losses(
    released: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    other = Store(str(tmp_path / "other"))
    release(other, tiny_recipe, "synthvlm")
    for store in (released, other):
        ProjectorCheckpoint(store, tiny_recipe, VARIANT).make()
    for step in (1, 3, 5):
        with pytest.raises(Killed):
            tuned(other, tiny_recipe, save_steps=2).make(killed_at(step))
    result, whole = tuned(other, tiny_recipe, save_steps=2).make(), tuned(released, tiny_recipe).make()
    assert result["resumed_from"] == 4
    for told in ("losses", "learning_rates", "content_hash"):
        assert result[told] == whole[told], "bit for bit"


def test_tuning_needs_the_projector_first(released: Store, tiny_recipe: Recipe) -> None:
    with pytest.raises(NotMaterialized, match=r"projector_checkpoint.*materialize"):
        tuned(released, tiny_recipe).make()


def test_an_altered_projector_is_not_tuned_on(released: Store, tiny_recipe: Recipe) -> None:
    stage = tuned(released, tiny_recipe)
    stage.aligned.make()
    path = f"{stage.aligned.path}/{PROJECTOR}"
    released.replace(path, released.get(path)[:-4] + b"\0\0\0\0")
    with pytest.raises(DamagedProduct, match=rf"{PROJECTOR} has other bytes .*materialize projector_checkpoint of"):
        tuned(released, tiny_recipe).make()
    released.fs.rm(path)
    with pytest.raises(DamagedProduct, match=rf"{PROJECTOR} is missing; materialize projector_checkpoint of"):
        tuned(released, tiny_recipe).make()


def test_altered_weights_are_not_loaded(released: Store, tiny_recipe: Recipe) -> None:
    stage = tuned(released, tiny_recipe)
    stage.aligned.make()
    stage.make()
    assert stage.load().image_tokens == 16
    path = f"{stage.path}/model.safetensors"
    released.replace(path, released.get(path)[:-4] + b"\0\0\0\0")
    with pytest.raises(DamagedProduct, match=r"model.safetensors has other bytes .*materialize vlm_checkpoint of"):
        stage.load()


def test_the_key_follows_what_the_weights_depend_on(
    released: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe], tmp_path: Path
) -> None:
    def key(changes: dict[str, object]) -> str:
        return tuned(released, edited(tiny_recipe, changes)).key

    base = key({})
    assert key({"threads": 2, "training.finetune.micro_batch": 2, "evaluation.max_new_tokens": 3}) == base
    for other in ({"training.finetune.epochs": 2.0}, {"training.align.epochs": 2.0}, {"seed": 5}):
        assert key(other) != base, other
    moved = tmp_path / "mix.json"
    moved.write_bytes(Path(tiny_recipe.training.instructions).read_bytes())
    assert key({"training.instructions": str(moved)}) == base, "the mix counts by content"
    moved.write_text(json.dumps(json.loads(moved.read_text())[1:]))
    assert key({"training.instructions": str(moved)}) != base
    with pytest.raises(Mendable, match=r"training\.instructions: no file .*nowhere\.json; give LLaVA's"):
        key({"training.instructions": "nowhere.json"})


def test_on_s3(s3_store: Store, tmp_path: Path, tiny_recipe: Recipe) -> None:
    release(s3_store, tiny_recipe, "synthvlm")
    stage = tuned(s3_store, tiny_recipe, work=tmp_path / "work")
    stage.aligned.make()
    stage.make()
    assert stage.load().image_tokens == 16
    assert not list((tmp_path / "work").glob("*/*"))
