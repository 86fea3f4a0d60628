"""The text-to-image model: a tiny training run, and the shipped weights."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import synthvlm_core.miniature
from synthvlm_core.miniature import benchmark, world
from synthvlm_core.miniature.quality import text_to_image as quality
from synthvlm_core.miniature.training import text_to_image as training
from synthvlm_core.miniature.training import vae

SHIPPED = Path(synthvlm_core.miniature.__file__).parent / "models" / "text-to-image"


def test_tokenizer_knows_every_byte_and_survives_saving(tmp_path: Path) -> None:
    tokenizer = training.train_tokenizer(["a red circle on a white background", "a blue ring"] * 10)
    hostile = ["", "zß水🙂\x00\u202e", "<|endoftext|>" * 3, "red " * 500]
    tokens = training.tokenize(tokenizer, hostile)
    assert tokens.shape == (4, training.LENGTH)
    assert tokenizer.tokenize("red circle") == ["red</w>", "circle</w>"]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert torch.equal(training.tokenize(again, hostile), tokens)
    assert again.model_max_length == training.LENGTH


def test_scenes_for_training_are_of_the_training_split() -> None:
    for scene in [*training.scenes(3, 200), *vae.scenes(3, 200)]:
        assert world.split_of(scene) == "train"


def test_normalisation_changes_latents_and_not_pictures() -> None:
    torch.manual_seed(0)
    model = vae.build()
    drawn = vae.pictures(vae.scenes(0, 16))
    before = vae.reconstruct(model, drawn).astype(int)
    vae.normalise(model, drawn, torch.device("cpu"))
    latents = vae.encode(model, drawn, torch.device("cpu"))
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(vae.LATENT_CHANNELS), atol=1e-3)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(vae.LATENT_CHANNELS), atol=1e-3)
    assert np.abs(vae.reconstruct(model, drawn).astype(int) - before).max() <= 1


def test_a_tiny_run_learns_and_writes_a_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "TEXT_BATCH": 32,
        "CAPTIONS_PER_BATCH": 8,
        "LEVELS_PER_CAPTION": 2,
        "EXTRA_CAPTIONS": 4,
    }.items():
        monkeypatch.setattr(training, name, value)
    losses = training.train(tmp_path / "made", 30, 30, 30, pool=96, processes=1, work=tmp_path / "work")
    for stage in ("vae", "text", "denoiser"):
        assert len(losses[stage]) == 30
        assert np.mean(losses[stage][-6:]) < 0.95 * np.mean(losses[stage][:6]), stage
    pipeline = quality.load(tmp_path / "made")
    assert type(pipeline).__name__ == "StableDiffusionXLPipeline"
    assert quality.draw(pipeline, ["a red circle"], seed=0, steps=2).shape == (1, 64, 64, 3)
    assert not list((tmp_path / "made").rglob("*.bin"))

    work = tmp_path / "work"
    again = training.train(tmp_path / "again", 30, 30, 30, pool=96, processes=1, work=work)
    assert again == {"vae": [], "text": [], "denoiser": []}


def test_two_processes_train_together(tmp_path: Path) -> None:
    losses = training.train(tmp_path / "made", 2, 2, 2, pool=32, processes=2)
    assert len(losses["denoiser"]) == 2


@pytest.fixture(scope="module")
def pipeline() -> Any:
    return quality.load(SHIPPED)


def test_shipped_weights_draw_the_captioned_colours(pipeline: Any) -> None:
    scenes = benchmark.held_out_scenes(32, "test")
    made = quality.draw(pipeline, quality.captions(scenes, seed=5), seed=5)
    right = quality.agreements(scenes, made)
    wrong = quality.agreements([*scenes[1:], scenes[0]], made)
    assert right["colour"].value > 0.7
    assert right["background"].value > 0.7
    assert right["colour"].value > wrong["colour"].value + 0.3


def test_same_seed_same_picture_and_other_seed_another(pipeline: Any) -> None:
    text = ["a large blue circle on the left on a white background"]
    one, two, three = (quality.draw(pipeline, text, seed, steps=4) for seed in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, three)


def test_shipped_folder_is_small_and_safe() -> None:
    files = [path for path in SHIPPED.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 16 * 2**20
    assert {path.suffix for path in files} <= {".json", ".txt", ".md", ".safetensors"}


def test_share_has_an_interval() -> None:
    low, high = quality.Share(95, 100).interval
    assert 0.88 < low < 0.9
    assert 0.97 < high < 0.99
