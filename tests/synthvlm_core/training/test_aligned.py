import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from harness import Killed, killed_at
from safetensors.torch import load
from tiny_vlm import PAIRS, VARIANT, release

from synthvlm_core.errors import Mendable, NotMaterialized, RecipeError
from synthvlm_core.findings import Finding
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks, verdict
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct
from synthvlm_core.training.aligned import PROJECTOR, MisfitProjector, ProjectorCheckpoint
from synthvlm_core.training.loop import TrainingDiverged
from synthvlm_core.training.tuned import VlmCheckpoint


def aligned(store: Store, recipe: Recipe, **more: Any) -> ProjectorCheckpoint:
    return ProjectorCheckpoint(store, recipe, VARIANT, **more)


def weights(stage: ProjectorCheckpoint) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load(stage.product.get(PROJECTOR))
    return found


def data_file(released: Store, recipe: Recipe) -> str:
    """Path of the set's first Parquet file."""
    found = aligned(released, recipe).released
    return f"{found.product.path}/{next(name for name in found.product.files if name.startswith('data/'))}"


def test_the_projector_alone_is_trained(released: Store, tiny_recipe: Recipe) -> None:
    steps: list[tuple[str, int, int]] = []
    stage = aligned(released, tiny_recipe)
    with pytest.raises(NotMaterialized, match=r"projector_checkpoint of 'synthvlm-mini' .*materialize"):
        _ = stage.manifest
    made = stage.make(lambda *step: steps.append(step))
    assert [report for report in steps if report[0] == "align"] == [("align", step, 6) for step in range(1, 7)]
    assert [report[0] for report in steps[:2]] == ["instructions: 0 rows read", "instructions: pictures"]
    assert made["steps"] == len(made["losses"]) == len(made["learning_rates"]) == 6
    assert made["rows"] == made["examples"] == PAIRS
    assert made["trained_parameters"] == made["parameters"]["projector"]
    assert made["inputs"] == {"release_content_hash": stage.released.manifest["content_hash"]}
    assert weights(stage).keys() == {"linear_1.weight", "linear_1.bias", "linear_2.weight", "linear_2.bias"}
    assert not list(Path(released.path("work", "training")).glob("*/*")), "the work folder is gone"
    assert aligned(released, tiny_recipe).manifest == made


def test_a_variant_trains_on_the_set_that_it_names(released: Store, tiny_recipe: Recipe) -> None:
    control = ProjectorCheckpoint(released, tiny_recipe, "random-mini")
    assert control.released.partition == "random"
    with pytest.raises(NotMaterialized, match=r"random"):
        control.make()
    release(released, tiny_recipe, "random", first=100)
    control = ProjectorCheckpoint(released, tiny_recipe, "random-mini")
    assert control.key != aligned(released, tiny_recipe).key
    assert control.make()["content_hash"] != aligned(released, tiny_recipe).make()["content_hash"]
    with pytest.raises(RecipeError, match=r"no training variant 'other'"):
        ProjectorCheckpoint(released, tiny_recipe, "other")


def test_a_killed_run_ends_with_the_same_weights_and_losses(
    released: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    other = Store(str(tmp_path / "other"))
    release(other, tiny_recipe, "synthvlm")
    for step in (1, 3, 5):
        with pytest.raises(Killed):
            aligned(other, tiny_recipe, save_steps=2).make(killed_at(step))
    result = aligned(other, tiny_recipe, save_steps=2).make()
    whole = aligned(released, tiny_recipe).make()
    assert result["resumed_from"] == 4
    for told in ("losses", "learning_rates", "content_hash"):
        assert result[told] == whole[told], "bit for bit"


def test_a_complete_checkpoint_is_not_trained_again_and_a_damaged_one_is(
    released: Store, tiny_recipe: Recipe, caplog: pytest.LogCaptureFixture
) -> None:
    first = aligned(released, tiny_recipe).make()
    stage = aligned(released, tiny_recipe)
    assert stage.make(killed_at(1)) == first
    path = f"{stage.path}/{PROJECTOR}"
    released.replace(path, released.get(path)[:-1])
    with caplog.at_level(logging.WARNING):
        again = aligned(released, tiny_recipe).make()
    assert "other bytes" in caplog.text
    assert again["content_hash"] == first["content_hash"]
    assert not stage.product.damage()


def test_a_parquet_file_that_the_release_does_not_name_is_not_trained_on(
    released: Store, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    path = data_file(released, tiny_recipe)
    released.put(f"{path.rsplit('/', 1)[0]}/train-00009-of-00010.parquet", released.get(path))
    other = Store(str(tmp_path / "other"))
    release(other, tiny_recipe, "synthvlm")
    made, plain = aligned(released, tiny_recipe).make(), aligned(other, tiny_recipe).make()
    assert made["rows"] == PAIRS
    assert made["content_hash"] == plain["content_hash"]


def test_altered_pairs_are_not_trained_on(released: Store, tiny_recipe: Recipe) -> None:
    path = data_file(released, tiny_recipe)
    rows = pq.read_table(released.fs.open(path))
    captions = ["something else entirely"] * rows.num_rows
    rows = rows.set_column(rows.column_names.index("text"), "text", [captions])
    with released.fs.open(path, "wb") as file:
        pq.write_table(rows, file)
    with pytest.raises(Mendable, match=r"data/train-.* has other bytes than .*materialize"):
        aligned(released, tiny_recipe).make()
    released.fs.rm(path)
    with pytest.raises(Mendable, match=r"data/train-.* is missing; "):
        aligned(released, tiny_recipe).make()


def test_a_red_set_is_not_trained_on(released: Store, tiny_recipe: Recipe) -> None:
    """However training is started: what is asked is the set itself, and not who asks. What was trained stays."""
    made = aligned(released, tiny_recipe).make()
    stage = Synthvlm100k(released, tiny_recipe, "synthvlm")
    verdict.keep(stage, checks.formats_agree, Finding(False, "a picture is another one"))
    assert aligned(released, tiny_recipe).make() == made, "nothing has to be trained"
    hotter = tiny_recipe.training.align.model_copy(update={"learning_rate": 2.0e-3})
    training = tiny_recipe.training.model_copy(update={"align": hotter})
    other = tiny_recipe.model_copy(update={"training": training})
    for again in (aligned(released, other), VlmCheckpoint(released, tiny_recipe, VARIANT)):
        with pytest.raises(verdict.UnsoundSet, match="nothing is trained on it: formats_agree"):
            again.make()
        assert again.find() is None


def test_an_altered_projector_is_not_put_into_a_model(released: Store, tiny_recipe: Recipe) -> None:
    stage = aligned(released, tiny_recipe)
    stage.make()
    assert stage.load().image_tokens == 16
    path = f"{stage.path}/{PROJECTOR}"
    released.replace(path, released.get(path)[:-4] + b"\0\0\0\0")
    with pytest.raises(DamagedProduct, match=rf"{PROJECTOR} has other bytes .*materialize projector_checkpoint of"):
        stage.load()


def test_a_projector_of_another_width_does_not_fit(
    released: Store, tiny_recipe: Recipe, tiny_models: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    from synthvlm_core.models import vlm

    stage = aligned(released, tiny_recipe)
    stage.make()
    made = vlm.build(tiny_recipe, stage.variant, "crop")
    config = AutoModelForCausalLM.from_pretrained(tiny_models / "language").config
    config.hidden_size = 64
    made.model.model.multi_modal_projector = torch.nn.Linear(32, 64)
    with pytest.raises(MisfitProjector, match="align again"):
        stage.put_into(made)


def test_the_key_follows_what_the_weights_depend_on(
    released: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe], tiny_models: Path, tmp_path: Path
) -> None:
    def key(recipe: Recipe) -> str:
        return aligned(released, recipe).key

    base = key(tiny_recipe)
    for same in (
        {"threads": 2},
        {"training.align.micro_batch": 2},
        {"training.align.gradient_checkpointing": True},
        {"automation": ()},
        {"training.finetune.epochs": 2.0},
        {"training.instructions": "elsewhere.json"},
        {"evaluation.max_new_tokens": 3},
    ):
        assert key(edited(tiny_recipe, same)) == base, same
    for other in ({"training.align.learning_rate": 0.5}, {"training.feature_layer": -1}, {"seed": 5}):
        assert key(edited(tiny_recipe, other)) != base, other
    (tmp_path / "moved").symlink_to(tiny_models / "language")
    moved = edited(tiny_recipe, {"training.variants.synthvlm-mini.language_model.id": str(tmp_path / "moved")})
    assert key(moved) == base, "weights count by content"
    other_set = Store(str(tmp_path / "other"))
    release(other_set, tiny_recipe, "synthvlm", first=100)
    assert aligned(other_set, tiny_recipe).key != base


def test_the_code_version_follows_the_words_of_the_recipe(tiny_recipe: Recipe, edited: Callable[..., Recipe]) -> None:
    base = ProjectorCheckpoint.code_version(tiny_recipe)
    for same in ({"training.align.micro_batch": 2}, {"training.finetune.epochs": 2.0}, {"name": "other"}):
        assert ProjectorCheckpoint.code_version(edited(tiny_recipe, same)) == base
    for other in ({"training.align.epochs": 2.0}, {"training.variants.synthvlm-mini.selection": "random"}):
        assert ProjectorCheckpoint.code_version(edited(tiny_recipe, other)) != base


def test_a_loss_that_is_no_number_stops_the_run(
    released: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe]
) -> None:
    recipe = edited(tiny_recipe, {"training.align.learning_rate": 1e30, "training.align.warmup_ratio": 0.0})
    with pytest.raises(TrainingDiverged, match="lower the learning rate") as raised:
        aligned(released, recipe).make()
    assert isinstance(raised.value, Mendable), "another try would end the same"


def test_half_precision_without_an_accelerator_is_noted(
    released: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe]
) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has an accelerator")
    recipe = edited(
        tiny_recipe, {"training.align.precision": "bfloat16", "training.align.gradient_checkpointing": True}
    )
    half = aligned(released, recipe)
    made = half.make()
    assert made["precision"] == "float32"
    assert "bfloat16" in made["note"]
    plain = aligned(released, tiny_recipe)
    plain.make()
    assert torch.equal(weights(half)["linear_1.weight"], weights(plain)["linear_1.weight"]), (
        "checkpointing of activations changes nothing"
    )


def test_micro_batches_sum_to_the_global_batch(
    released: Store, tiny_recipe: Recipe, edited: Callable[..., Recipe], tmp_path: Path
) -> None:
    other = Store(str(tmp_path / "other"))
    release(other, tiny_recipe, "synthvlm")
    whole = aligned(released, edited(tiny_recipe, {"training.align.micro_batch": 8})).make()
    parts = aligned(other, edited(tiny_recipe, {"training.align.micro_batch": 2})).make()
    assert parts["losses"] == pytest.approx(whole["losses"], rel=1e-4)
    assert parts["key"] == whole["key"]
