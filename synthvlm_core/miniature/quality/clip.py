"""How good is the miniature CLIP? Retrieval, matched against swapped pairs, single wrong attributes, what patches say.

Belongs here: measuring the folders `clip` and `clip-vision` on held-out scenes, and what CLIPScore is worth for picking
among generated pictures. Does not belong here: training, the table's layout.

Captions say every attribute and take turns in style. Wins count scenes whose right caption scores above the same words
with one wrong attribute; 0.5 is chance.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional

from synthvlm_core.miniature import benchmark, grammar, inverse, world
from synthvlm_core.miniature.benchmark import HeldOutSplit
from synthvlm_core.miniature.quality.text_to_image import Share
from synthvlm_core.miniature.world import Scene

Row = tuple[str, float, str]
POOL = 64
PICTURES_PER_CAPTION = 4
_BATCH = 256
_PICKED_ATTRIBUTES = ("colour", "shape", "size", "count", "background", "relation", "place")


class Clip:
    """The shipped model as users load it: open_clip, from a folder."""

    def __init__(self, folder: Path) -> None:
        import open_clip

        name = f"local-dir:{folder}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)

    def pictures(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        """Embeddings of length 1."""
        with torch.inference_mode():
            parts = [
                self.model.encode_image(torch.stack([self.preprocess(p) for p in pictures[at : at + _BATCH]]))
                for at in range(0, len(pictures), _BATCH)
            ]
        return functional.normalize(torch.cat(parts), dim=-1)

    def texts(self, texts: Sequence[str]) -> torch.Tensor:
        """Embeddings of length 1."""
        with torch.inference_mode():
            parts = [
                self.model.encode_text(self.tokenizer(list(texts[at : at + _BATCH])))
                for at in range(0, len(texts), _BATCH)
            ]
        return functional.normalize(torch.cat(parts), dim=-1)


def rows(models: Path, n: int = 1024) -> list[Row]:
    """The CLIP part of the quality table: (name, value, note with n and 95 % interval)."""
    clip = Clip(models / "clip")
    found = [row for split in ("test", "held_out") for row in _on_drawings(clip, n, split)]
    found += _of_patches(models / "clip-vision", n)
    if (models / "text-to-image").is_dir():
        found += of_best(clip, models / "text-to-image")
    return found


def _on_drawings(clip: Clip, n: int, split: HeldOutSplit) -> list[Row]:
    scenes = benchmark.held_out_scenes(n, split)
    rng = np.random.default_rng([n, 41])
    styles = [grammar.STYLES[i % len(grammar.STYLES)] for i in range(n)]
    texts = [grammar.caption(scene, rng, style, "full") for scene, style in zip(scenes, styles, strict=True)]
    images = clip.pictures([world.draw(scene, 64) for scene in scenes])
    cosines = images @ clip.texts(texts).T
    found = []
    for name, table in (("image to text", cosines), ("text to image", cosines.T)):
        pools = [table[at : at + POOL, at : at + POOL] for at in range(0, n - POOL + 1, POOL)]
        right = sum(int((pool.argmax(dim=1) == torch.arange(POOL)).sum()) for pool in pools)
        found.append(_share(f"CLIP {split} {name}, top-1 of {POOL}", Share(right, POOL * len(pools))))
    matched = cosines.diagonal().numpy()
    swapped = cosines.roll(1, dims=1).diagonal().numpy()
    found.append(_mean(f"CLIP {split} cosine, matched", matched))
    found.append(_mean(f"CLIP {split} cosine, swapped", swapped))
    found.append(_mean(f"CLIP {split} cosine, matched less swapped", matched - swapped))
    return found + _wins(clip, scenes, images, split)


def _wins(clip: Clip, scenes: Sequence[Scene], images: torch.Tensor, split: str) -> list[Row]:
    rng = np.random.default_rng([len(scenes), 42])
    asked: dict[str, list[tuple[int, str, str]]] = {}
    for number, scene in enumerate(scenes):
        for kind, (right, wrong) in grammar.edited_captions(scene, rng).items():
            asked.setdefault(kind, []).append((number, right, wrong))
    found = []
    for kind, cases in asked.items():
        of_scene = images[[number for number, _, _ in cases]]
        rights = (of_scene * clip.texts([text for _, text, _ in cases])).sum(dim=1)
        wrongs = (of_scene * clip.texts([text for _, _, text in cases])).sum(dim=1)
        share = Share(int((rights > wrongs).sum()), len(cases))
        name, value, note = _share(f"CLIP {split} notices a wrong {kind}", share)
        found.append((name, value, f"{note}; cosine falls by {float((rights - wrongs).mean()):.3f}"))
    return found


def _of_patches(folder: Path, n: int) -> list[Row]:
    """Can a linear map read a lone thing off the patches of the last but one layer, as a LLaVA gets them?"""
    from transformers import AutoImageProcessor, CLIPVisionModel

    tower: Any = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)
    tower.eval()
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")  # type: ignore[no-untyped-call]
    trained, tested = _lone("train", 2 * n), _lone("test", n)

    def features(scenes: Sequence[Scene]) -> NDArray[np.float64]:
        parts = []
        for at in range(0, len(scenes), _BATCH):
            drawn = [world.draw(scene, 64) for scene in scenes[at : at + _BATCH]]
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
        found.append(_share(f"CLIP patches, layer -2: {name} of a lone thing by a linear map", share))
    return found


def of_best(clip: Clip, pipeline_folder: Path, n: int = 256, seed: int = 0) -> list[Row]:
    """Is the best of four pictures by CLIPScore more often right than any one of the four?"""
    from synthvlm_core.miniature.quality import text_to_image

    scenes = benchmark.held_out_scenes(n, "test")
    texts = text_to_image.captions(scenes, seed)
    pipeline = text_to_image.load(pipeline_folder)
    made = [text_to_image.draw(pipeline, texts, seed + 100 + i) for i in range(PICTURES_PER_CAPTION)]
    said = clip.texts(texts)
    scores = torch.stack([(clip.pictures([Image.fromarray(p) for p in some]) * said).sum(1) for some in made], dim=1)
    other = torch.stack(
        [(clip.pictures([Image.fromarray(p) for p in some]) * said.roll(1, dims=0)).sum(1) for some in made], dim=1
    )
    best = scores.argmax(dim=1).tolist()
    read = [
        [inverse.agreement(scene, inverse.read(made[i][place])) for i in range(PICTURES_PER_CAPTION)]
        for place, scene in enumerate(scenes)
    ]
    whole = np.array([[all(v is not False for v in one.values()) for one in row] for row in read], dtype=np.float64)
    attributes = np.array([[_agreed(one) for one in row] for row in read])
    picked = np.arange(n), np.array(best)
    found = [
        _mean("generated: cosine, matched", scores.mean(dim=1).numpy()),
        _mean("generated: cosine, swapped", other.mean(dim=1).numpy()),
    ]
    for name, table in (("attributes right", attributes), ("wholly right", whole)):
        found.append(_mean(f"generated: {name}, a random one of {PICTURES_PER_CAPTION}", table.mean(axis=1)))
        found.append(_mean(f"generated: {name}, the best of {PICTURES_PER_CAPTION} by CLIPScore", table[picked]))
        gain = table[picked] - table.mean(axis=1)
        found.append(_mean(f"generated: {name}, gain by choosing", gain))
        found.append(_mean(f"generated: {name}, the best of {PICTURES_PER_CAPTION} there is", table.max(axis=1)))
    return found


def _agreed(agreement: dict[str, bool | None]) -> float:
    """Share of the attributes that a scene has which a picture shows."""
    asked = [found for name in _PICKED_ATTRIBUTES if (found := agreement[name]) is not None]
    return sum(asked) / len(asked)


def _lone(split: world.Split, n: int) -> list[Scene]:
    rng = np.random.default_rng([n, 43])
    found: list[Scene] = []
    while len(found) < n:
        scene = world.sample_scene(rng, split)
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


def _share(name: str, share: Share) -> Row:
    low, high = share.interval
    return name, share.value, f"95 % [{low:.3f}, {high:.3f}] of {share.n}"


def _mean(name: str, values: NDArray[Any]) -> Row:
    half = 1.96 * float(values.std(ddof=1)) / float(np.sqrt(len(values)))
    mean = float(values.mean())
    return name, mean, f"95 % [{mean - half:.3f}, {mean + half:.3f}] of {len(values)}"
