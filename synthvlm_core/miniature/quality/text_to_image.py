"""How good is the miniature text-to-image model? Attributes read back from pictures that it draws.

Belongs here: drawing benchmark captions with a pipeline and reading the pictures with the render inverse.
Does not belong here: training, scores by learned models (`clip`), the table's layout.

Each share stands beside two others: the reader on real drawings of the same scenes (the most that can be
reached) and the reader on generated pictures against other scenes' captions (the level of knowing nothing
of the caption). Scenes come from `benchmark`, captions say every attribute.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from synthvlm_core import recipe as recipes
from synthvlm_core.miniature import benchmark, grammar, inverse, world
from synthvlm_core.miniature.benchmark import HeldOutSplit
from synthvlm_core.miniature.grammar import Detail, Style
from synthvlm_core.miniature.world import Scene

_SECTION = recipes.load("miniature").generator
GUIDANCE_SCALE, STEPS, BATCH = _SECTION.guidance_scale, _SECTION.steps, _SECTION.batch_size
"""As the recipe draws."""
ATTRIBUTES = ("colour", "background", "count", "shape", "size", "place", "axis", "direction", "relation", "all")
_DIVERSITY_SCENES, _DIVERSITY_SEEDS = 16, 6


@dataclass(frozen=True, slots=True)
class Share:
    """`right` of `n` cases."""

    right: int
    n: int

    @property
    def value(self) -> float:
        return self.right / self.n if self.n else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval."""
        if not self.n:
            return math.nan, math.nan
        z = 1.96
        middle = (self.value + z * z / (2 * self.n)) / (1 + z * z / self.n)
        half = z * math.sqrt(self.value * (1 - self.value) / self.n + z * z / (4 * self.n**2)) / (1 + z * z / self.n)
        return max(0.0, middle - half), min(1.0, middle + half)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] of {self.n}"


def load(folder: Path) -> Any:
    """The pipeline in single precision, on the accelerator if there is one."""
    library: Any = diffusers
    pipeline = library.AutoPipelineForText2Image.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to("cuda" if torch.cuda.is_available() else "cpu")


def captions(scenes: Sequence[Scene], seed: int, style: Style = "plain", detail: Detail = "full") -> list[str]:
    """One caption for each scene."""
    rng = np.random.default_rng([seed, 31])
    return [grammar.caption(scene, rng, style, detail) for scene in scenes]


def draw(
    pipeline: Any,
    texts: Sequence[str],
    seed: int,
    guidance_scale: float = GUIDANCE_SCALE,
    steps: int = STEPS,
) -> NDArray[np.uint8]:
    """A picture for each text, as bytes; each has its own seed, so it does not depend on the others."""
    made: list[Any] = []
    for at in range(0, len(texts), BATCH):
        some = list(texts[at : at + BATCH])
        generators = [torch.Generator().manual_seed(seed * 1_000_003 + at + i) for i in range(len(some))]
        made += pipeline(
            some, generator=generators, guidance_scale=guidance_scale, num_inference_steps=steps, height=64, width=64
        ).images
    return np.stack([np.asarray(image) for image in made])


def agreements(scenes: Iterable[Scene], pictures: Iterable[NDArray[np.uint8]]) -> dict[str, Share]:
    """Share of pictures that agree with their scene, by attribute.

    `direction` is asked of pictures whose axis is right only; `relation` is axis and direction, of all scenes
    of several things; `all` is a wholly right picture.
    """
    right, n = dict.fromkeys(ATTRIBUTES, 0), dict.fromkeys(ATTRIBUTES, 0)
    for scene, picture in zip(scenes, pictures, strict=True):
        found = inverse.agreement(scene, inverse.read(picture))
        whole = all(value is not False for value in found.values())
        for name, value in {**found, "direction": found["relation"] if found["axis"] else None, "all": whole}.items():
            if value is not None:
                right[name] += value
                n[name] += 1
    return {name: Share(right[name], n[name]) for name in ATTRIBUTES}


def measure(
    pipeline_folder: Path,
    n: int = 256,
    seed: int = 0,
    guidance_scale: float = GUIDANCE_SCALE,
    steps: int = STEPS,
    split: HeldOutSplit = "test",
) -> list[tuple[str, float, str]]:
    """Rows (name, value, note) for one split, with intervals in the note."""
    pipeline = load(pipeline_folder)
    scenes = benchmark.held_out_scenes(n, split)
    real = np.stack([np.asarray(world.draw(scene, 64)) for scene in scenes])
    started = time.perf_counter()
    made = draw(pipeline, captions(scenes, seed), seed, guidance_scale, steps)
    seconds = time.perf_counter() - started
    generated, drawn = agreements(scenes, made), agreements(scenes, real)
    other = agreements([*scenes[1:], scenes[0]], made)
    reconstructed = agreements(scenes, _reconstruct(pipeline, real))
    rows: list[tuple[str, float, str]] = []
    for name in ATTRIBUTES:
        low, high = generated[name].interval
        note = (
            f"95 % [{low:.3f}, {high:.3f}] of {generated[name].n}; other captions {other[name].value:.3f}; "
            f"autoencoder {reconstructed[name].value:.3f}; drawings {drawn[name].value:.3f}"
        )
        rows.append((f"text-to-image {split} {name}", generated[name].value, note))
    rows.append(
        (
            f"text-to-image {split} images per second",
            n / seconds,
            f"{torch.get_num_threads()} threads, {steps} steps, guidance {guidance_scale}",
        )
    )
    return rows


def diversity(
    pipeline: Any, seed: int = 0, guidance_scale: float = GUIDANCE_SCALE, steps: int = STEPS
) -> tuple[float, float, float]:
    """Do seeds differ? Mean pixel distance (of 255) of pictures of one caption with different seeds, the same
    for drawings that differ in jitter alone, and for pictures of different captions.
    """
    scenes = [scene for scene in benchmark.held_out_scenes(8 * _DIVERSITY_SCENES, "test") if scene.count == 1][
        :_DIVERSITY_SCENES
    ]
    texts = captions(scenes, seed)
    rng = np.random.default_rng([seed, 32])
    made = np.stack(
        [draw(pipeline, texts, seed + 1 + i, guidance_scale, steps) for i in range(_DIVERSITY_SEEDS)], axis=1
    )
    jitters = [[Scene(s.things, s.background, int(rng.integers(2**31))) for _ in range(6)] for s in scenes]
    real = np.array([[np.asarray(world.draw(scene, 64)) for scene in row] for row in jitters])
    return _distance(made), _distance(real), _distance(made.swapaxes(0, 1))


def rows(models: Path, n: int = 256, seed: int = 0) -> list[tuple[str, float, str]]:
    """The text-to-image part of the quality table: (name, value, note)."""
    folder = models / "text-to-image"
    found = measure(folder, n, seed, split="test") + measure(folder, n, seed, split="held_out")
    pipeline = load(folder)
    scenes = benchmark.held_out_scenes(n, "test")
    for style in grammar.STYLES[1:]:
        shares = agreements(scenes, draw(pipeline, captions(scenes, seed, style, "full"), seed))
        note = "; ".join(f"{name} {shares[name].value:.3f}" for name in ("background", "count", "shape", "relation"))
        found.append((f"text-to-image {style} captions colour", shares["colour"].value, note))
    seeds, jitter, texts = diversity(pipeline, seed)
    note = f"mean pixel distance; drawings with other jitter {jitter:.1f}, other captions {texts:.1f}"
    found.append(("text-to-image diversity over seeds", seeds, note))
    return found


def _reconstruct(pipeline: Any, pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    from synthvlm_core.miniature.training.vae import reconstruct

    return reconstruct(pipeline.vae, pictures)


def _distance(pictures: NDArray[np.uint8]) -> float:
    """Mean absolute difference of the pictures of a group, shape (groups, pictures, ...), over all pairs."""
    values = pictures.astype(np.float32)
    number = values.shape[1]
    pairs = [(i, j) for i in range(number) for j in range(i)]
    return float(np.mean([np.abs(values[:, i] - values[:, j]).mean() for i, j in pairs]))
