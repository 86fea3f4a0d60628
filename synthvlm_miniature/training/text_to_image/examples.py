"""Training examples: latents of drawn scenes, tokens of their captions, and the read-out's answers.

Belongs here: which scenes and captions are trained on, and how often. Does not belong here: noise and losses (the
stages).
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from transformers import CLIPTokenizer

from synthvlm_miniature.training.text_to_image import autoencoder
from synthvlm_miniature.training.text_to_image.autoencoder import Model
from synthvlm_miniature.training.text_to_image.readout import answers
from synthvlm_miniature.training.text_to_image.tokenizer import LENGTH, tokenize
from synthvlm_miniature.world.captions import Detail, Style, caption
from synthvlm_miniature.world.scenes import Scene, sample_scene

SEVERAL = 0.5
"""Share of examples that are of several things for certain."""

CAPTION_KINDS: tuple[tuple[Style, Detail], ...] = (
    ("plain", "full"),
    ("plain", "full"),
    ("plain", "varied"),
    ("laion", "varied"),
    ("cc", "varied"),
    ("sbu", "varied"),
    ("datacomp", "varied"),
)
"""Captions made for each training scene; each is as likely to be used as the others."""
_KEPT = {1: 0.3, 2: 0.7, 3: 1.0}
"""Share of the world's scenes that is trained on, by the number of things: the more things, the harder."""


@dataclass(frozen=True)
class Examples:
    """Latents of n scenes (n, 12, 8, 8), tokens of their captions (n, kinds, length), answers to the read-out's
    questions about them (n, kinds, questions)."""

    latents: Tensor
    tokens: Tensor
    answers: Tensor


def scenes(seed: int, n: int) -> list[Scene]:
    """Training scenes, with more of the scenes of several things than the world has."""
    rng = np.random.default_rng([seed, 21])
    drawn: list[Scene] = []
    while len(drawn) < n:
        scene = sample_scene(rng, "train")
        if rng.random() < _KEPT[scene.count]:
            drawn.append(scene)
    return drawn


def make_examples(vae: Model, tokenizer: CLIPTokenizer, seed: int, n: int, device: torch.device) -> Examples:
    """Draw and encode n training scenes and word each of them in every kind of caption."""
    drawn = scenes(seed, n)
    latents = [
        autoencoder.encode(vae, autoencoder.pictures(drawn[at : at + 1024]), device).half() for at in range(0, n, 1024)
    ]
    texts = caption_texts(drawn, seed)
    return Examples(torch.cat(latents), tokenize_all(tokenizer, texts), answer_tensor(drawn, texts))


def caption_texts(drawn: list[Scene], seed: int) -> list[list[str]]:
    """All kinds of captions of each scene."""
    rng = np.random.default_rng([seed, 22])
    return [[caption(scene, rng, style, detail) for style, detail in CAPTION_KINDS] for scene in drawn]


def tokenize_all(tokenizer: CLIPTokenizer, texts: list[list[str]]) -> Tensor:
    """Tokens of all captions: (scenes, kinds, length)."""
    return tokenize(tokenizer, [text for row in texts for text in row]).view(len(texts), -1, LENGTH)


def answer_tensor(drawn: list[Scene], texts: list[list[str]]) -> Tensor:
    """The read-out's answers for all captions: (scenes, kinds, questions)."""
    rows = [[answers(scene, text) for text in row] for scene, row in zip(drawn, texts, strict=True)]
    return torch.tensor(rows, dtype=torch.int8)


class CaptionDraw:
    """Chooses captions for the read-out: mostly of several things and with every attribute said."""

    def __init__(self, right: Tensor) -> None:
        self.several = np.nonzero(right[:, 0, 1].numpy() > 1)[0]
        self.shape = right.shape

    def scenes(self, rng: np.random.Generator, n: int) -> Tensor:
        """Numbers of scenes, mostly of several things."""
        anywhere = rng.integers(self.shape[0], size=n)
        if not len(self.several):
            return torch.from_numpy(anywhere)
        several = self.several[rng.integers(len(self.several), size=n)]
        return torch.from_numpy(np.where(rng.random(n) < SEVERAL, several, anywhere))

    def __call__(self, rng: np.random.Generator, n: int) -> tuple[Tensor, Tensor]:
        """Numbers of scenes and of the captions' kinds."""
        kinds = np.where(rng.random(n) < 0.6, rng.integers(2, size=n), rng.integers(self.shape[1], size=n))
        return self.scenes(rng, n), torch.from_numpy(kinds)
