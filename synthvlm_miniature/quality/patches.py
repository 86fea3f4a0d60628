"""What do CLIP's patches say? A lone thing's attributes read by a linear map, as a LLaVA gets the patches.

Belongs here: the folder `clip-vision`, the linear map. Does not belong here: embeddings of whole pictures (clip.py).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from synthvlm_miniature.quality.shares import Row, Share, share_row
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.scenes import Scene, Split, sample_scene

_BATCH = 256


def rows(folder: Path, n: int) -> list[Row]:
    """Can a linear map read a lone thing off the patches of the last but one layer, as a LLaVA gets them?"""
    from transformers import AutoImageProcessor, CLIPVisionModel

    tower: Any = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)
    tower.eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # type: ignore[no-untyped-call]
    trained, tested = _lone("train", 2 * n), _lone("test", n)

    def features(scenes: Sequence[Scene]) -> NDArray[np.float64]:
        parts = []
        for at in range(0, len(scenes), _BATCH):
            drawn = [draw(scene, 64) for scene in scenes[at : at + _BATCH]]
            pixels = processor(drawn, return_tensors="pt").pixel_values
            with torch.inference_mode():
                states = tower(pixels, output_hidden_states=True).hidden_states
            parts.append(states[-2][:, 1:].numpy())
        return np.concatenate(parts).astype(np.float64)

    train_patches, test_patches = features(trained), features(tested)
    found = []
    for name in ("colour", "shape", "size", "place"):
        options = sorted({getattr(scene.things[0], name) for scene in trained})
        wanted = np.array([options.index(getattr(scene.things[0], name)) for scene in trained])
        truth = np.array([options.index(getattr(scene.things[0], name)) for scene in tested])
        # What a thing is, from the patch in its middle; where it is, from all patches
        pick = _all_patches if name == "place" else _middle_patch
        guessed = _ridge(pick(train_patches, trained), wanted, pick(test_patches, tested), len(options))
        share = Share(int((guessed == truth).sum()), len(tested))
        found.append(share_row(f"CLIP patches, layer -2: {name} of a lone thing by a linear map", share))
    return found


def _lone(split: Split, n: int) -> list[Scene]:
    rng = np.random.default_rng([n, 43])
    found: list[Scene] = []
    while len(found) < n:
        scene = sample_scene(rng, split)
        if scene.count == 1:
            found.append(scene)
    return found


def _middle_patch(patches: NDArray[np.float64], scenes: Sequence[Scene]) -> NDArray[np.float64]:
    side = int(np.sqrt(patches.shape[1]))
    middles = [scene.centres()[0] for scene in scenes]
    at = [int(y * side) * side + int(x * side) for x, y in middles]
    return patches[np.arange(len(scenes)), at]


def _all_patches(patches: NDArray[np.float64], scenes: Sequence[Scene]) -> NDArray[np.float64]:
    return patches.reshape(len(scenes), -1)


def _ridge(
    train: NDArray[np.float64], wanted: NDArray[np.int64], test: NDArray[np.float64], classes: int
) -> NDArray[np.int64]:
    """Classes by ridge regression onto one-hot targets, solved in the smaller of the two dual forms."""
    mean, spread = train.mean(axis=0), train.std(axis=0) + 1e-6
    train, test = (train - mean) / spread, (test - mean) / spread
    target = np.eye(classes)[wanted] - 1 / classes
    penalty = 0.01 * len(train)
    if train.shape[1] <= len(train):
        weights = np.linalg.solve(train.T @ train + penalty * np.eye(train.shape[1]), train.T @ target)
    else:
        weights = train.T @ np.linalg.solve(train @ train.T + penalty * np.eye(len(train)), target)
    guessed: NDArray[np.int64] = (test @ weights).argmax(axis=1)
    return guessed
