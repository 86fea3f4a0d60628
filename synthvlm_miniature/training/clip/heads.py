"""CLIP's auxiliary heads, which make single attributes count and are thrown away after the training.

Belongs here: the linear heads and their losses. Does not belong here: the truth they are asked for (targets.py).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthvlm_miniature.training.clip.model import MODEL_CONFIG
from synthvlm_miniature.training.optimization import IGNORED
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, HELD_OUT, PLACES, SHAPES, SIZES

_COLOURS = tuple(COLOURS)
_SLOT = 1 + len(SHAPES) + len(SIZES) + len(PLACES)


class Heads(nn.Module):
    """The auxiliary heads, used in training only."""

    held_out: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.slots = nn.Linear(MODEL_CONFIG["embed_dim"], len(_COLOURS) * _SLOT + len(BACKGROUNDS))
        width = MODEL_CONFIG["vision_cfg"]["width"]
        self.norm = nn.LayerNorm(width)
        self.patches = nn.Linear(width, 1 + len(_COLOURS) + len(SHAPES) + len(SIZES) + len(BACKGROUNDS))
        held_out = torch.zeros(len(_COLOURS), 1 + len(SHAPES))
        for colour, shape in HELD_OUT:
            held_out[_COLOURS.index(colour), 1 + SHAPES.index(shape)] = -1e4
        self.register_buffer("held_out", held_out)

    def slot_loss(self, embedding: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over what a scene's slots hold; `embedding` has length 1."""
        logits = self.slots(embedding * math.sqrt(embedding.shape[1])).float()
        ground = functional.cross_entropy(logits[:, -len(BACKGROUNDS) :], target[:, -1])
        shape, size, place = (
            logits[:, : -len(BACKGROUNDS)]
            .reshape(len(logits), len(_COLOURS), _SLOT)
            .split([1 + len(SHAPES), len(SIZES), len(PLACES)], dim=2)
        )
        truth = target[:, :-1].reshape(len(target), len(_COLOURS), 3)
        pairs = ((shape + self.held_out, 0), (size, 1), (place, 2))
        return ground + sum(
            (
                functional.cross_entropy(part.flatten(0, 1), truth[..., at].flatten(), ignore_index=IGNORED)
                for part, at in pairs
            ),
            start=torch.zeros((), device=ground.device),
        )

    def patch_loss(self, tokens: Tensor, target: Tensor) -> Tensor:
        """Mean cross-entropy over what patches show; `tokens` (n, 64, width)."""
        logits = self.patches(self.norm(tokens)).float().transpose(1, 2)
        parts = logits.split([1 + len(_COLOURS), len(SHAPES), len(SIZES), len(BACKGROUNDS)], dim=1)
        losses = [functional.cross_entropy(part, target[:, at], ignore_index=IGNORED) for at, part in enumerate(parts)]
        return torch.stack(losses).sum()
