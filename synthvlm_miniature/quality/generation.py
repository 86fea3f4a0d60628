"""Pictures of the text-to-image model, drawn as the recipe draws them.

Belongs here: loading the pipeline, wording scenes, drawing. Does not belong here: reading the pictures
(text_to_image.py, choosing.py), the stage that draws a data set (synthvlm_core.images).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.pixels import RESOLUTION
from synthvlm_miniature.world.captions import Detail, Style, caption
from synthvlm_miniature.world.scenes import Scene


@dataclass(frozen=True, slots=True)
class Manner:
    """How pictures are drawn."""

    guidance_scale: float
    steps: int
    batch_size: int = 32


@cache
def as_the_recipe() -> Manner:
    """How the recipe `miniature` draws."""
    # Reading a recipe imports every stage; drawing in a given manner needs none of them
    from synthvlm_core.recipe import loading

    section: Any = loading.load("miniature").generator
    return Manner(section.guidance_scale, section.steps, section.batch_size)


def load(folder: Path) -> Any:
    """The pipeline in single precision, on the accelerator if there is one."""
    library: Any = diffusers
    pipeline = library.AutoPipelineForText2Image.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(optimization.device())


def captions(scenes: Sequence[Scene], seed: int, style: Style = "plain", detail: Detail = "full") -> list[str]:
    """One caption for each scene."""
    rng = np.random.default_rng([seed, 31])
    return [caption(scene, rng, style, detail) for scene in scenes]


def draw(pipeline: Any, texts: Sequence[str], seed: int, manner: Manner | None = None) -> NDArray[np.uint8]:
    """A picture for each text, as bytes (n, 64, 64, 3); each has its own seed and does not depend on the others.

    Args:
        manner: by default `as_the_recipe`.
    """
    manner = manner or as_the_recipe()
    made: list[Any] = []
    for at in range(0, len(texts), manner.batch_size):
        some = list(texts[at : at + manner.batch_size])
        made += pipeline(
            some,
            generator=[torch.Generator().manual_seed(seed * 1_000_003 + at + i) for i in range(len(some))],
            guidance_scale=manner.guidance_scale,
            num_inference_steps=manner.steps,
            height=RESOLUTION,
            width=RESOLUTION,
        ).images
    return np.stack([np.asarray(image) for image in made])
