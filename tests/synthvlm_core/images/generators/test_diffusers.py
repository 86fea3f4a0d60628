"""Diffusers over tiny pipelines of random weights: what an image depends on, and what it does not."""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from synthvlm_core.errors import RecipeError
from synthvlm_core.images.generators import diffusers
from synthvlm_core.images.generators.diffusers import Diffusers, Pipeline
from synthvlm_core.images.generators.noise import initial_latents, noise_stream
from synthvlm_core.parts.generator import Drawn, Request, seed_of
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import context

Edit = Callable[[Recipe, dict[str, object]], Recipe]
SHAPE = (4, 8, 8)
PSNR = 60.0
"""docs/images.md"""
REQUESTS = [Request(f"{i:032x}", text, i % 2, 0) for i, text in enumerate(["a red", "blue ring", "c", "dd", "e", "f"])]


def load(recipe: Recipe) -> Pipeline:
    assert isinstance(recipe.generator, Diffusers)
    return recipe.generator.load(context(recipe))


@pytest.fixture
def base(drawing: Recipe) -> Pipeline:
    return load(drawing)


def draw(pipeline: Pipeline, requests: Sequence[Request], size: int = 4) -> np.ndarray:
    """The pixels of any number of requests, batch by batch."""
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]
    return pixels([drawn for batch in batches for drawn in pipeline.draw(batch)])


def pixels(drawn: list[Drawn]) -> np.ndarray:
    return np.stack([one.pixels for one in drawn])


def test_latents_reach_the_pipeline_bit_by_bit_and_unscaled(base: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    prepare = type(base._base).prepare_latents
    monkeypatch.setattr(
        type(base._base), "prepare_latents", lambda self, *a: (seen.append(a[-1].clone()), prepare(self, *a))[1]
    )
    base.draw(REQUESTS[:1])
    latents = initial_latents(noise_stream(seed_of(0, REQUESTS[0].caption_id, 0, 0)), SHAPE)
    assert seen[0].shape == (4, *SHAPE)
    assert all(torch.equal(one, latents) for one in seen[0])


def test_pixels_depend_on_the_request_alone(base: Pipeline, drawing: Recipe) -> None:
    together = draw(base, REQUESTS)
    assert together.shape == (6, 64, 64, 3)
    assert together.dtype == np.float32
    assert 0.0 <= together.min() < together.max() <= 1.0
    assert np.array_equal(draw(base, REQUESTS[::-1])[::-1], together)
    assert np.array_equal(draw(base, REQUESTS, size=1), together)
    assert np.array_equal(draw(load(drawing), REQUESTS), together)
    assert len({picture.tobytes() for picture in together}) == 6


@pytest.mark.parametrize(("key", "value"), [("generator.batch_size", 6), ("generator.batch_size", 1), ("threads", 2)])
def test_other_batches_and_threads_agree_within_the_documented_psnr(
    drawing: Recipe, edited: Edit, key: str, value: int
) -> None:
    """What leaving both out of the definition rests on; ids, seeds and latents are the same to the bit."""

    def drawn_by(recipe: Recipe) -> list[Drawn]:
        pipeline, size = load(recipe), recipe.generator.batch_size
        return [drawn for at in range(0, 6, size) for drawn in pipeline.draw(REQUESTS[at : at + size])]

    first, second = drawn_by(drawing), drawn_by(edited(drawing, {key: value}))
    torch.set_num_threads(1)
    assert [drawn.seed for drawn in first] == [drawn.seed for drawn in second]
    error = float(np.square(pixels(first) - pixels(second)).mean())
    assert error == 0.0 or 10 * np.log10(1.0 / error) > PSNR


def test_attempts_and_seeds_differ(base: Pipeline, drawing: Recipe, edited: Edit) -> None:
    first, again = base.draw([REQUESTS[0], Request(REQUESTS[0].caption_id, REQUESTS[0].text, 0, 1)])
    assert not np.array_equal(first.pixels, again.pixels)
    [other] = load(edited(drawing, {"seed": 1})).draw(REQUESTS[:1])
    assert other.seed != first.seed
    assert not np.array_equal(first.pixels, other.pixels)


def test_long_captions_are_flagged(base: Pipeline) -> None:
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


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"refiner": {"id": "refiner"}}, "refiner and high_noise_frac go together"),
        ({"high_noise_frac": 0.8}, "refiner and high_noise_frac go together"),
        ({"refiner": {"id": "refiner"}, "high_noise_frac": 0.0}, "high_noise_frac"),
        ({"refiner": {"id": "refiner"}, "high_noise_frac": 1.0}, "high_noise_frac"),
        ({"negative_prompt": "blurred", "guidance_scale": 1.0}, "negative_prompt does nothing"),
        ({"width": 60}, "multiple of 8"),
        ({"height": 0}, "greater than or equal to 8"),
        ({"encoding": {"format": "jpeg"}}, "jpeg needs a quality"),
        ({"encoding": {"format": "png", "quality": 9}}, "png is lossless"),
        ({"encoding": {"format": "png", "subsampling": "4:4:4"}}, "only jpeg"),
        ({"encoding": {"format": "webp", "subsampling": "4:4:4"}}, "only jpeg"),
    ],
)
def test_what_does_nothing_or_cannot_be_is_refused_on_loading(
    drawing: Recipe, edited: Edit, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(RecipeError, match=message):
        edited(drawing, {f"generator.{key}": value for key, value in changes.items()})


def test_a_stochastic_scheduler_is_replayable(drawing: Recipe, edited: Edit) -> None:
    found = load(edited(drawing, {"generator.scheduler": "EulerAncestralDiscreteScheduler"}))
    assert found.description["base"]["scheduler"] == "EulerAncestralDiscreteScheduler"
    together = pixels(found.draw(REQUESTS[:4]))
    assert np.array_equal(pixels(found.draw(REQUESTS[3::-1]))[::-1], together)
    assert not np.array_equal(together, pixels(load(drawing).draw(REQUESTS[:4])))


def test_an_unknown_scheduler_is_explained(drawing: Recipe, edited: Edit) -> None:
    for name in ("NoScheduler", "UNet2DConditionModel"):
        recipe = edited(drawing, {"generator.scheduler": name})
        told = recipe.generator.problem(context(recipe))
        assert told is not None
        assert told.startswith("scheduler: ")
        assert name in told
        with pytest.raises(RecipeError, match=r"generator\.scheduler.*EulerDiscreteScheduler"):
            load(recipe)
    assert drawing.generator.problem(context(drawing)) is None


def test_a_size_that_the_latents_cannot_have_is_told_before_loading(
    drawing: Recipe, pipelines: Path, tmp_path: Path, edited: Edit
) -> None:
    """FLUX packs patches of 2 x 2 latents, so that its pictures are cut to multiples of 16."""
    (tmp_path / "flux" / "vae").mkdir(parents=True)
    (tmp_path / "flux" / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    shutil.copy(pipelines / "base" / "vae" / "config.json", tmp_path / "flux" / "vae" / "config.json")
    recipe = edited(drawing, {"generator.model.id": str(tmp_path / "flux"), "generator.width": 72})
    assert recipe.generator.problem(context(recipe)) == (
        "width: 72 is no multiple of 16, which this pipeline's latents need"
    )
    assert edited(recipe, {"generator.width": 80}).generator.problem(context(recipe)) is None


@pytest.mark.skipif(torch.cuda.is_available(), reason="half precision is used there")
def test_half_precision_on_a_cpu_is_computed_in_single(
    drawing: Recipe, base: Pipeline, edited: Edit, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = load(edited(drawing, {"generator.model.dtype": "float16"}))
    assert "float32" in found.note
    assert found.note in caplog.text
    assert found.description["base"]["dtype"] == "float32"
    assert np.array_equal(pixels(found.draw(REQUESTS[:1])), pixels(base.draw(REQUESTS[:1])))
    assert base.note == ""


def test_a_failing_model_shows_as_nan(base: Pipeline) -> None:
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

    assert diffusers._latent_shape(Packing(), 1024, 1024) == ((16, 128, 128), True)


def test_a_card_tells_what_draws() -> None:
    assert recipes.load("paper").generator.told() == (
        "`stabilityai/stable-diffusion-xl-base-1.0`, refined by `stabilityai/stable-diffusion-xl-refiner-1.0`, "
        "60 steps, guidance 20, 1024×1024 pixels, 1 per caption"
    )
