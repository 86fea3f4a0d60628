"""Pipelines that silently do otherwise than their arguments say, each found before a row is stored.

The pipelines are the tiny ones with one promise of the class broken at a time.
"""

import functools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline

from synthvlm_core.errors import RecipeError
from synthvlm_core.images.generators import promises
from synthvlm_core.images.generators.diffusers import Diffusers, Pipeline
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.generator import Request
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import context
from synthvlm_core.store.objects import Store

pytestmark = pytest.mark.model

Edit = Callable[[Recipe, dict[str, object]], Recipe]
REQUESTS = [Request(f"{i:032x}", text, 0, 0) for i, text in enumerate(["a red", "blue ring", "c", "dd"])]


def load(recipe: Recipe) -> Pipeline:
    assert isinstance(recipe.generator, Diffusers)
    return recipe.generator.load(context(recipe))


def problem(recipe: Recipe) -> str | None:
    return recipe.generator.problem(context(recipe))


def changed(**values: Any) -> Callable[..., Any]:
    """The pipeline's own call, with something of its result changed."""

    @functools.wraps(StableDiffusionXLPipeline.__call__)
    def call(self: Any, *positional: Any, **named: Any) -> Any:
        made = StableDiffusionXLPipeline.__call__(self, *positional, **named)
        for name, change in values.items():
            setattr(made, name, change(getattr(made, name, None)))
        return made

    return call


class Rounding(StableDiffusionXLPipeline):
    __call__ = changed(images=lambda images: images[:, :32, :32])


class Fewer(StableDiffusionXLPipeline):
    __call__ = changed(images=lambda images: images[:-1])


class Censoring(StableDiffusionXLPipeline):
    __call__ = changed(nsfw_content_detected=lambda _: [False, True, False, False])


class OwnNoise(StableDiffusionXLPipeline):
    def prepare_latents(self, *arguments: Any, **_: Any) -> Any:
        return super().prepare_latents(*arguments[:-1], None)


class Unguided(StableDiffusionXLPipeline):
    do_classifier_free_guidance = False


class Padding(StableDiffusionXLPipeline):
    def encode_prompt(self, prompt: list[str], *arguments: Any, **named: Any) -> Any:
        words, none, pooled, no_pooled = super().encode_prompt(prompt, *arguments, **named)
        longest = 2 + max(len(text) for text in prompt)
        return words[:, :longest], none, pooled, no_pooled


class Noisy(EulerDiscreteScheduler):
    def step(self, *arguments: Any, **named: Any) -> Any:
        made = super().step(*arguments, **named)
        return (made[0] + 0.01 * torch.randn_like(made[0]),)


class Lazy(EulerDiscreteScheduler):
    def set_timesteps(self, num_inference_steps: int | None = None, **named: Any) -> None:
        super().set_timesteps((num_inference_steps or 0) // 2, **named)


@pytest.mark.parametrize(
    ("pipeline", "message"),
    [
        (Rounding, r"generator\.width: this pipeline draws 32 x 32 pixels where 64 x 64 are asked for; set width 32"),
        (Fewer, r"generator\.model: its pipeline gave \(3, 64, 64, 3\) values for 4 pictures of 64 x 64"),
        (Censoring, r"generator\.model: its pipeline blackens pictures"),
        (OwnNoise, r"generator\.model: the noise that its pipeline starts from is not what the picture's seed gave"),
        (Unguided, r"generator\.guidance_scale: does nothing with this pipeline"),
    ],
)
def test_a_pipeline_that_breaks_a_promise_is_found_on_its_first_batch(
    drawing: Recipe, edited: Edit, pipeline: type, message: str
) -> None:
    found = load(edited(drawing, {"generator.guidance_scale": 5.0}))
    assert len(found.draw(REQUESTS)) == 4
    found._base.__class__ = pipeline
    with pytest.raises(RecipeError, match=message):
        found.draw(REQUESTS)


class OneSize(StableDiffusionXLPipeline):
    def check_inputs(self, prompt: Any, second: Any, height: int, width: int, *_: Any, **__: Any) -> None:
        raise ValueError(f"`height` and `width` have to be 1024 but are {height} and {width}.")


def test_a_size_that_a_pipeline_refuses_is_told_and_not_tried_again(drawing: Recipe) -> None:
    found = load(drawing)
    found._base.__class__ = OneSize
    with pytest.raises(RecipeError) as told:
        found.draw(REQUESTS)
    assert str(told.value) == (
        f"generator: the OneSize of {drawing.generator.model.id} does not draw 64 x 64 pixels as the section says: "  # type: ignore[attr-defined]
        "`height` and `width` have to be 1024 but are 64 and 64.; take the size that its card names, or another model"
    )
    found._base.__class__ = StableDiffusionXLPipeline
    found.draw(REQUESTS)
    found._base.__class__ = OneSize
    with pytest.raises(ValueError, match="have to be 1024") as other:  # what drew before may draw again
        found.draw(REQUESTS)
    assert not isinstance(other.value, RecipeError)


def test_latents_that_are_not_the_seeds_are_found_wherever_they_come_from(drawing: Recipe) -> None:
    class Shuffled(StableDiffusionXLPipeline):
        def prepare_latents(self, *arguments: Any, **_: Any) -> Any:
            return super().prepare_latents(*arguments[:-1], arguments[-1].flip(0))

    found = load(drawing)
    found._base.__class__ = Shuffled
    with pytest.raises(RecipeError, match="not what the picture's seed gave"):
        found.draw(REQUESTS)


def test_a_negative_prompt_that_nobody_looks_at_is_found(drawing: Recipe, edited: Edit) -> None:
    found = load(edited(drawing, {"generator.guidance_scale": 5.0, "generator.negative_prompt": "blurred"}))
    found._base.__class__ = Unguided
    found._denoiser.register_forward_pre_hook(lambda _, a, k: (a, {**k, "timestep_cond": None}), with_kwargs=True)
    with pytest.raises(RecipeError, match=r"generator\.(guidance_scale|negative_prompt): does nothing"):
        found.draw(REQUESTS)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (Noisy, r"generator\.scheduler: Noisy, or its pipeline, draws noise that comes from no picture's seed"),
        (Lazy, r"generator\.steps: Lazy takes 2 steps where 4 are asked for"),
    ],
)
def test_a_scheduler_that_breaks_a_promise_is_found(
    drawing: Recipe, edited: Edit, scheduler: type, message: str
) -> None:
    found = load(edited(drawing, {"generator.steps": 4}))
    found._base.scheduler = scheduler.from_config(found._base.scheduler.config)
    with pytest.raises(RecipeError, match=message):
        found.draw(REQUESTS)


@pytest.mark.parametrize(
    "name",
    [
        "DDIMScheduler",
        "PNDMScheduler",
        "HeunDiscreteScheduler",
        "KDPM2AncestralDiscreteScheduler",
        "DPMSolverMultistepScheduler",
        "DPMSolverSinglestepScheduler",
        "UniPCMultistepScheduler",
        "LMSDiscreteScheduler",
        "DEISMultistepScheduler",
        "EulerAncestralDiscreteScheduler",
    ],
)
def test_schedulers_that_keep_their_promises_draw(drawing: Recipe, edited: Edit, name: str) -> None:
    changes = {"generator.scheduler": name, "generator.steps": 5, "generator.guidance_scale": 5.0}
    assert len(load(edited(drawing, changes)).draw(REQUESTS)) == 4


def test_prompts_padded_to_the_longest_of_a_batch_are_found(drawing: Recipe) -> None:
    found = load(drawing)
    found._base.__class__ = Padding
    found.draw(REQUESTS)
    with pytest.raises(RecipeError, match=r"generator\.batch_size: this pipeline pads prompts.*set it to 1"):
        found.draw([Request("f" * 32, "a longer one", 0, 0)])


def test_nothing_is_stored_of_a_batch_that_breaks_a_promise(
    filtered: Store, drawing: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = SyntheticImages(filtered, drawing, "laion")
    load_as_it_is = Diffusers.load

    def broken(self: Diffusers, where: Any) -> Pipeline:
        found = load_as_it_is(self, where)
        found._base.__class__ = Rounding
        return found

    monkeypatch.setattr(Diffusers, "load", broken)
    with pytest.raises(RecipeError, match="draws 32 x 32 pixels"):
        stage.make()
    assert filtered.files(filtered.path("synthetic_images"), ".parquet") == []


def pipeline_folder(folder: Path, name: str, vae: Path, **denoiser: Any) -> Path:
    """The configurations of a pipeline of that class, without weights."""
    (folder / "vae").mkdir(parents=True)
    (folder / "transformer").mkdir()
    (folder / "model_index.json").write_text(json.dumps({"_class_name": name}))
    (folder / "transformer" / "config.json").write_text(json.dumps(denoiser))
    shutil.copy(vae, folder / "vae" / "config.json")
    return folder


def test_what_files_tell_is_told_by_check(drawing: Recipe, pipelines: Path, tmp_path: Path, edited: Edit) -> None:
    vae = pipelines / "base" / "vae" / "config.json"
    pixart = pipeline_folder(tmp_path / "pixart", "PixArtSigmaPipeline", vae, patch_size=2)
    recipe = edited(drawing, {"generator.model.id": str(pixart), "generator.width": 40, "generator.height": 40})
    assert problem(recipe) == "width: 40 is no multiple of 16, which this pipeline's latents need"
    assert problem(edited(recipe, {"generator.width": 48, "generator.height": 48})) is None
    schnell = pipeline_folder(tmp_path / "schnell", "FluxPipeline", vae, guidance_embeds=False, patch_size=1)
    recipe = edited(drawing, {"generator.model.id": str(schnell), "generator.guidance_scale": 3.5})
    told = problem(recipe)
    assert told is not None
    assert told.startswith("guidance_scale: does nothing with this model, which was distilled")
    assert problem(edited(recipe, {"generator.guidance_scale": 0.0})) is None
    dev = pipeline_folder(tmp_path / "dev", "FluxPipeline", vae, guidance_embeds=True, patch_size=1)
    recipe = edited(recipe, {"generator.model.id": str(dev)})
    assert problem(recipe) is None
    told = problem(edited(recipe, {"generator.negative_prompt": "blurred"}))
    assert told is not None
    assert told.startswith("negative_prompt: does nothing with this model")


@pytest.mark.parametrize(("share", "whom"), [(0.9999, "the refiner"), (0.05, "the base model")])
def test_too_few_steps_to_share_are_told_by_check_and_on_loading(
    drawing: Recipe, pipelines: Path, edited: Edit, share: float, whom: str
) -> None:
    recipe = edited(
        drawing,
        {
            "generator.refiner": {"id": str(pipelines / "refiner")},
            "generator.high_noise_frac": share,
            "generator.steps": 4,
        },
    )
    told = problem(recipe)
    assert told is not None
    assert told.startswith(f"steps: of 4 steps none is left for {whom} at high_noise_frac {share}; raise steps")
    with pytest.raises(RecipeError, match=f"none is left for {whom}"):
        load(recipe)
    assert problem(edited(recipe, {"generator.high_noise_frac": 0.5})) is None


def test_what_changes_size_and_caption_is_turned_off(drawing: Recipe) -> None:
    seen: dict[str, Any] = {}

    class Binning(StableDiffusionXLPipeline):
        def __call__(  # type: ignore[override]
            self, *positional: Any, use_resolution_binning: bool = True, clean_caption: bool = True, **named: Any
        ) -> Any:
            seen.update(use_resolution_binning=use_resolution_binning, clean_caption=clean_caption)
            return super().__call__(*positional, **named)

    found = load(drawing)
    plain = np.stack([drawn.pixels for drawn in found.draw(REQUESTS)])
    found._base.__class__ = Binning
    assert np.array_equal(np.stack([drawn.pixels for drawn in found.draw(REQUESTS)]), plain)
    assert seen == {"use_resolution_binning": False, "clean_caption": False}
    assert set(seen) < set(promises.PLAIN)
