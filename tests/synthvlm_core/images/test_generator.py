"""The generator over tiny pipelines of random weights: what an image depends on, and what it does not."""

import hashlib
import logging
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import recipe as recipes
from synthvlm_core.images import generator
from synthvlm_core.images.generator import Drawn, Generator, Request
from synthvlm_core.recipe import Recipe, RecipeError

Edit = Callable[[Recipe, dict[str, object]], Recipe]
SHAPE = (4, 8, 8)
REQUESTS = [Request(f"{i:032x}", text, i % 2, 0) for i, text in enumerate(["a red", "blue ring", "c", "dd", "e", "f"])]


def load(recipe: Recipe) -> Generator:
    return Generator(recipe.generator, recipe.folder, recipe.seed, 1)


@pytest.fixture
def base(drawing: Recipe) -> Generator:
    return load(drawing)


def pixels(drawn: list[Drawn]) -> np.ndarray:
    return np.stack([one.pixels for one in drawn])


def test_seeds_are_the_same_everywhere() -> None:
    assert generator.seed_of(0, "0" * 32, 0, 0) == 8236235433728822809
    parts = [(0, "a", 0, 0), (1, "a", 0, 0), (0, "b", 0, 0), (0, "a", 1, 0), (0, "a", 0, 1)]
    seeds = [generator.seed_of(*part) for part in parts]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


LATENTS = "e197bfddcca99246084218f3062e59a79f77822588caca89c8b35b959f245676"
PRINT_LATENTS = """
import hashlib
from synthvlm_core.images import generator
print(hashlib.sha256(generator.initial_latents(2**63 - 1, (4, 8, 8)).numpy().tobytes()).hexdigest())
"""


def test_initial_latents_are_the_same_everywhere() -> None:
    latents = generator.initial_latents(2**63 - 1, SHAPE)
    assert latents.dtype == torch.float32
    assert hashlib.sha256(latents.numpy().tobytes()).hexdigest() == LATENTS


def test_initial_latents_are_the_same_on_an_older_processor() -> None:
    """Drawn in float32 they are not: torch approximates the logarithm otherwise where there is AVX2."""
    older = {**os.environ, "ATEN_CPU_CAPABILITY": "default"}
    found = subprocess.run([sys.executable, "-c", PRINT_LATENTS], env=older, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == LATENTS


@given(order=st.permutations(range(6)), size=st.integers(1, 6))
def test_latents_do_not_depend_on_batch_or_order(order: list[int], size: int) -> None:
    alone = [generator.initial_latents(seed, SHAPE) for seed in range(6)]
    for start in range(0, 6, size):
        for seed in order[start : start + size]:
            assert torch.equal(generator.initial_latents(seed, SHAPE), alone[seed])


def test_latents_reach_the_pipeline_bit_by_bit_and_unscaled(base: Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    prepare = type(base._base).prepare_latents
    monkeypatch.setattr(
        type(base._base), "prepare_latents", lambda self, *a: (seen.append(a[-1].clone()), prepare(self, *a))[1]
    )
    base.draw(REQUESTS[:1])
    seed = generator.seed_of(0, REQUESTS[0].caption_id, 0, 0)
    assert seen[0].shape == (4, *SHAPE)
    assert all(torch.equal(one, generator.initial_latents(seed, SHAPE)) for one in seen[0])


def test_pixels_depend_on_the_request_alone(base: Generator, drawing: Recipe) -> None:
    together = pixels(base.draw(REQUESTS))
    assert together.shape == (6, 64, 64, 3)
    assert together.dtype == np.float32
    assert 0.0 <= together.min() < together.max() <= 1.0
    assert np.array_equal(pixels(base.draw(REQUESTS[::-1]))[::-1], together)
    assert np.array_equal(pixels([base.draw([one])[0] for one in REQUESTS]), together)
    assert np.array_equal(pixels(load(drawing).draw(REQUESTS)), together)
    assert len({picture.tobytes() for picture in together}) == 6


def test_another_batch_shape_is_close(drawing: Recipe, edited: Edit) -> None:
    four = pixels(load(drawing).draw(REQUESTS))
    six = pixels(load(edited(drawing, {"generator.batch_size": 6})).draw(REQUESTS))
    assert np.abs(four - six).max() < 1e-3


def test_attempts_and_seeds_differ(base: Generator, drawing: Recipe, edited: Edit) -> None:
    first, again = base.draw([REQUESTS[0], Request(REQUESTS[0].caption_id, REQUESTS[0].text, 0, 1)])
    assert not np.array_equal(first.pixels, again.pixels)
    [other] = load(edited(drawing, {"seed": 1})).draw(REQUESTS[:1])
    assert other.seed != first.seed
    assert not np.array_equal(first.pixels, other.pixels)


def test_long_captions_are_flagged(base: Generator) -> None:
    """The tiny encoders see 24 tokens, start and end included, a letter each."""
    whole, cut = base.draw([Request("a", "a" * 22, 0, 0), Request("b", "a" * 23, 0, 0)])
    assert (whole.prompt_tokens, whole.prompt_truncated) == (22, False)
    assert (cut.prompt_tokens, cut.prompt_truncated) == (23, True)


def test_the_refiner_takes_over_latents_at_the_same_noise(drawing: Recipe, pipelines: Path, edited: Edit) -> None:
    recipe = edited(
        drawing,
        {
            "generator.refiner": {"id": str(pipelines / "refiner")},
            "generator.high_noise_frac": 0.5,
            "generator.steps": 4,
        },
    )
    found = load(recipe)
    calls: list[dict] = []
    for part in ("_base", "_refiner"):
        pipeline = getattr(found, part)
        setattr(found, part, Spy(pipeline, calls))
    drawn = found.draw(REQUESTS[:2])
    assert pixels(drawn).shape == (2, 64, 64, 3)
    base, refiner = calls
    assert (base["denoising_end"], base["output_type"]) == (0.5, "latent")
    assert refiner["denoising_start"] == 0.5
    assert "denoising_end" not in refiner
    assert refiner["image"].shape == (4, *SHAPE)
    assert base["timesteps"] + refiner["timesteps"] == 4  # none is skipped, none done twice
    assert not np.array_equal(pixels(drawn), pixels(load(drawing).draw(REQUESTS[:2])))
    assert found.description["refiner"]["pipeline"] == "StableDiffusionXLImg2ImgPipeline"


def test_the_papers_section_draws_with_tiny_weights(pipelines: Path, tmp_path: Path, edited: Edit) -> None:
    """Base and refiner of SDXL's layout, fp16 files and all; only ids, size and number of steps are others."""
    from diffusers import DiffusionPipeline

    for part in ("base", "refiner"):
        halves = DiffusionPipeline.from_pretrained(pipelines / part, dtype=torch.float16)
        halves.save_pretrained(tmp_path / part, variant="fp16")
    assert not list(tmp_path.rglob("diffusion_pytorch_model.safetensors")), "only the variant's files are there"
    paper = recipes.load("paper")
    recipe = edited(
        paper,
        {
            "generator.model.id": str(tmp_path / "base"),
            "generator.refiner.id": str(tmp_path / "refiner"),
            "generator.width": 64,
            "generator.height": 64,
            "generator.steps": 10,
        },
    )
    found = load(recipe)
    calls: list[dict] = []
    found._base, found._refiner = Spy(found._base, calls), Spy(found._refiner, calls)
    drawn = found.draw(REQUESTS[:3])
    assert pixels(drawn).shape == (3, 64, 64, 3)
    assert np.isfinite(pixels(drawn)).all()
    assert [call["timesteps"] for call in calls] == [8, 2]
    assert {call["guidance_scale"] for call in calls} == {20.0}
    assert {name: found.description[name]["pipeline"] for name in ("base", "refiner")} == {
        "base": "StableDiffusionXLPipeline",
        "refiner": "StableDiffusionXLImg2ImgPipeline",
    }


class Spy:
    """A pipeline that notes how it is called and how many steps it takes."""

    def __init__(self, pipeline: object, calls: list[dict]) -> None:
        self.pipeline, self.calls = pipeline, calls

    def __getattr__(self, name: str) -> object:
        return getattr(self.pipeline, name)

    def __call__(self, **arguments: object) -> object:
        result = self.pipeline(**arguments)  # type: ignore[operator]
        self.calls.append({**arguments, "timesteps": self.pipeline.num_timesteps})  # type: ignore[attr-defined]
        return result


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_refiner_needs_something_left_to_do(drawing: Recipe, pipelines: Path, edited: Edit, share: float) -> None:
    refiner = {"generator.refiner": {"id": str(pipelines / "refiner")}, "generator.high_noise_frac": share}
    with pytest.raises(RecipeError, match="high_noise_frac"):
        load(edited(drawing, refiner))


def test_a_stochastic_scheduler_is_replayable(drawing: Recipe, edited: Edit) -> None:
    found = load(edited(drawing, {"generator.scheduler": "EulerAncestralDiscreteScheduler"}))
    assert found.description["base"]["scheduler"] == "EulerAncestralDiscreteScheduler"
    together = pixels(found.draw(REQUESTS[:4]))
    assert np.array_equal(pixels(found.draw(REQUESTS[3::-1]))[::-1], together)
    assert not np.array_equal(together, pixels(load(drawing).draw(REQUESTS[:4])))


def test_an_unknown_scheduler_is_explained(drawing: Recipe, edited: Edit) -> None:
    for name in ("NoScheduler", "UNet2DConditionModel"):
        with pytest.raises(RecipeError, match=r"generator\.scheduler.*EulerDiscreteScheduler"):
            load(edited(drawing, {"generator.scheduler": name}))


@pytest.mark.skipif(torch.cuda.is_available(), reason="half precision is used there")
def test_half_precision_on_a_cpu_is_computed_in_single(
    drawing: Recipe, base: Generator, edited: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = load(edited(drawing, {"generator.model.dtype": "float16"}))
    assert "float32" in found.note
    assert found.note in caplog.text
    assert found.description["base"]["dtype"] == "float32"
    assert np.array_equal(pixels(found.draw(REQUESTS[:1])), pixels(base.draw(REQUESTS[:1])))
    assert base.note == ""


def test_a_failing_model_shows_as_nan(base: Generator) -> None:
    with torch.no_grad():
        base._base.vae.decoder.conv_out.bias[0] = float("nan")
    assert np.isnan(base.draw(REQUESTS[:1])[0].pixels).any()


def test_pickled_weights_are_refused(drawing: Recipe, pipelines: Path, tmp_path: Path, edited: Edit) -> None:
    folder = tmp_path / "pickled"
    shutil.copytree(pipelines / "base", folder)
    (folder / "unet" / "diffusion_pytorch_model.safetensors").rename(folder / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(RecipeError, match=r"generator\.model\.id.*pickled"):
        load(edited(drawing, {"generator.model.id": str(folder)}))


def test_a_folder_that_is_no_pipeline_is_explained(drawing: Recipe, pipelines: Path, edited: Edit) -> None:
    with pytest.raises(RecipeError, match=r"generator\.model\.id.*not a pipeline"):
        load(edited(drawing, {"generator.model.id": str(pipelines / "base" / "unet")}))


def test_nothing_is_printed(drawing: Recipe, capfd: pytest.CaptureFixture[str]) -> None:
    load(drawing).draw(REQUESTS[:1])
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "it/s" not in captured.err


def test_packed_latents_have_the_shape_of_patches() -> None:
    """FLUX denoises 2x2 patches: 16 channels of 128x128 for 1024x1024 pixels, packed into 4,096 tokens of 64."""

    class Packing:
        vae_scale_factor = 8
        transformer = type("T", (), {"config": type("C", (), {"in_channels": 64})})

        def _pack_latents(self) -> None: ...

    assert generator._latent_shape(Packing(), 1024, 1024) == ((16, 128, 128), True)
