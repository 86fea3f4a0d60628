"""How good is the miniature text-to-image model? Attributes read back from pictures that it draws.

Belongs here: shares of pictures that agree with their scene, and how much seeds differ. Does not belong here: drawing
(generation.py), scores by learned models (clip.py, choosing.py), the table's layout.

Each share stands beside two others: the reader on real drawings of the same scenes (the most that can be
reached) and the reader on generated pictures against other scenes' captions (the level of knowing nothing
of the caption). Scenes are held out, captions say every attribute.
"""

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthvlm_miniature.quality import generation
from synthvlm_miniature.quality.generation import Manner
from synthvlm_miniature.quality.shares import Row, Share
from synthvlm_miniature.training.pixels import RESOLUTION
from synthvlm_miniature.training.text_to_image.autoencoder import reconstruct
from synthvlm_miniature.world.agreement import agreement
from synthvlm_miniature.world.captions import STYLES
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.held_out import HeldOutSplit, held_out_scenes
from synthvlm_miniature.world.inverse import read
from synthvlm_miniature.world.scenes import Scene

ATTRIBUTES = ("colour", "background", "count", "shape", "size", "place", "axis", "direction", "relation", "all")
_DIVERSITY_SCENES, _DIVERSITY_SEEDS = 16, 6


def rows(models: Path, n: int = 256, seed: int = 0) -> list[Row]:
    """The text-to-image part of the quality table: (name, value, note)."""
    folder = models / "text-to-image"
    found = measure(folder, n, seed, split="test") + measure(folder, n, seed, split="held_out")
    pipeline = generation.load(folder)
    scenes = held_out_scenes(n, "test")
    for style in STYLES[1:]:
        shares = agreements(scenes, generation.draw(pipeline, generation.captions(scenes, seed, style, "full"), seed))
        note = "; ".join(f"{name} {shares[name].value:.3f}" for name in ("background", "count", "shape", "relation"))
        found.append((f"text-to-image {style} captions colour", shares["colour"].value, note))
    seeds, jitter, texts = diversity(pipeline, seed)
    note = f"mean pixel distance; drawings with other jitter {jitter:.1f}, other captions {texts:.1f}"
    found.append(("text-to-image diversity over seeds", seeds, note))
    return found


def agreements(scenes: Iterable[Scene], pictures: Iterable[NDArray[np.uint8]]) -> dict[str, Share]:
    """Share of pictures that agree with their scene, by attribute.

    `direction` is asked of pictures whose axis is right only; `relation` is axis and direction, of all scenes
    of several things; `all` is a wholly right picture.
    """
    right, n = dict.fromkeys(ATTRIBUTES, 0), dict.fromkeys(ATTRIBUTES, 0)
    for scene, picture in zip(scenes, pictures, strict=True):
        found = agreement(scene, read(picture))
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
    manner: Manner | None = None,
    split: HeldOutSplit = "test",
) -> list[Row]:
    """Rows for one split, with intervals in the note; drawn as the recipe draws unless told otherwise."""
    manner = manner or generation.as_the_recipe()
    pipeline = generation.load(pipeline_folder)
    scenes = held_out_scenes(n, split)
    real = np.stack([np.asarray(draw(scene, RESOLUTION)) for scene in scenes])
    started = time.perf_counter()
    made = generation.draw(pipeline, generation.captions(scenes, seed), seed, manner)
    seconds = time.perf_counter() - started
    generated, drawn = agreements(scenes, made), agreements(scenes, real)
    other = agreements([*scenes[1:], scenes[0]], made)
    reconstructed = agreements(scenes, reconstruct(pipeline.vae, real))
    found: list[Row] = []
    for name in ATTRIBUTES:
        low, high = generated[name].interval
        note = (
            f"95 % [{low:.3f}, {high:.3f}] of {generated[name].n}; other captions {other[name].value:.3f}; "
            f"autoencoder {reconstructed[name].value:.3f}; drawings {drawn[name].value:.3f}"
        )
        found.append((f"text-to-image {split} {name}", generated[name].value, note))
    found.append(
        (
            f"text-to-image {split} images per second",
            n / seconds,
            f"{torch.get_num_threads()} threads, {manner.steps} steps, guidance {manner.guidance_scale}",
        )
    )
    return found


def diversity(pipeline: Any, seed: int = 0, manner: Manner | None = None) -> tuple[float, float, float]:
    """Do seeds differ? Mean pixel distance (of 255) of pictures of one caption with different seeds, the same
    for drawings that differ in jitter alone, and for pictures of different captions.
    """
    scenes = [scene for scene in held_out_scenes(8 * _DIVERSITY_SCENES, "test") if scene.count == 1][:_DIVERSITY_SCENES]
    texts = generation.captions(scenes, seed)
    rng = np.random.default_rng([seed, 32])
    made = np.stack([generation.draw(pipeline, texts, seed + 1 + i, manner) for i in range(_DIVERSITY_SEEDS)], axis=1)
    jitters = [[Scene(s.things, s.background, int(rng.integers(2**31))) for _ in range(6)] for s in scenes]
    real = np.array([[np.asarray(draw(scene, RESOLUTION)) for scene in row] for row in jitters])
    return _distance(made), _distance(real), _distance(made.swapaxes(0, 1))


def _distance(pictures: NDArray[np.uint8]) -> float:
    """Mean absolute difference of the pictures of a group, shape (groups, pictures, ...), over all pairs."""
    values = pictures.astype(np.float32)
    number = values.shape[1]
    pairs = [(i, j) for i in range(number) for j in range(i)]
    return float(np.mean([np.abs(values[:, i] - values[:, j]).mean() for i, j in pairs]))
