"""CLIP's batches: pictures as a generator may deliver them, captions of all manners, and hard negatives.

Belongs here: what a batch holds and how its pictures are spoilt. Does not belong here: the truth for the heads
(targets.py), drawing and wording (synthvlm_miniature.world).
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training.clip.settings import Settings
from synthvlm_miniature.training.clip.targets import patches_of, slots_of
from synthvlm_miniature.training.clip.tokenizer import tokens_of
from synthvlm_miniature.training.pixels import RESOLUTION, to_tensor
from synthvlm_miniature.world.captions import caption, random_style
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.edits import edited_scene
from synthvlm_miniature.world.scenes import Scene, sample_scene, split_of

_EDITS = ("colour", "shape", "shape", "size", "background", "direction", "binding", "place")


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures (n, 3, 64, 64), tokens (n, length) trimmed to the longest, and the truth for the heads."""

    pictures: Tensor
    tokens: Tensor
    slots: Tensor
    """(n, 19): per colour shape (0 for none), size and place, then the background."""
    patches: Tensor
    """(n, 4, 64): per patch colour (0 for none), shape, size, background."""
    says_all: Tensor
    """(n,): whether the caption states every attribute."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device."""
        return Batch(*(getattr(self, name).to(device) for name in self.__slots__))


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast, first: int = 0) -> Iterator[Batch]:
    """Endless training batches from the one numbered `first`; the n-th depends on the seed and n alone."""
    number = first
    while True:
        rng = np.random.default_rng([settings.seed, 22, number])
        scenes: list[Scene] = []
        texts: list[str] = []
        says_all: list[bool] = []
        for place in range(settings.pairs + settings.singles):
            scene = sample_scene(rng)
            style = random_style(rng)
            twin = edited_twin(scene, rng) if place < settings.pairs else None
            # A few pairs and some singles say all, most captions of the files leave something out
            full = twin is not None or rng.random() < 0.25
            state = int(rng.integers(2**31))
            for member in (scene,) if twin is None else (scene, twin):
                scenes.append(member)
                texts.append(caption(member, np.random.default_rng(state), style, "full" if full else "varied"))
                says_all.append(full)
        pixels = np.stack([spoilt(draw(scene, RESOLUTION), rng) for scene in scenes])
        yield Batch(
            pictures=to_tensor(pixels),
            tokens=tokens_of(tokenizer, texts),
            slots=torch.from_numpy(np.stack([slots_of(scene) for scene in scenes])),
            patches=torch.from_numpy(np.stack([patches_of(scene) for scene in scenes])),
            says_all=torch.tensor(says_all),
        )
        number += 1


def edited_twin(scene: Scene, rng: np.random.Generator) -> Scene | None:
    """The scene with one attribute changed and the things moved a little, still of the training split."""
    for _ in range(6):
        kind = _EDITS[int(rng.integers(len(_EDITS)))]
        changed = edited_scene(scene, kind, rng)
        if changed is not None and split_of(changed) == "train":
            return Scene(changed.things, changed.background, int(rng.integers(2**31)))
    return None


def spoilt(picture: Image.Image, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture as a generator or a codec may deliver it: in part blurred, coarse, noisy or re-encoded."""
    kind = rng.random()
    if kind < 0.12:
        picture = picture.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.3))))
    elif kind < 0.22:
        side = int(rng.integers(28, 60))
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        picture = picture.resize((RESOLUTION, RESOLUTION), Image.Resampling.BICUBIC)
    elif kind < 0.32:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=int(rng.integers(25, 90)))
        picture = Image.open(buffer)
    pixels = np.asarray(picture)
    if rng.random() < 0.2:
        coarse = rng.normal(0, rng.uniform(3, 16), (16, 16, 3)).astype(np.float32)
        noise = coarse.repeat(4, axis=0).repeat(4, axis=1)
        noise += rng.normal(0, 6, pixels.shape).astype(np.float32)
        pixels = (pixels + noise).clip(0, 255).astype(np.uint8)
    return pixels
