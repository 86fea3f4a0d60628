"""The read-out: linear questions to the text encoders about what is where, thrown away after the training.

Belongs here: the questions, their right answers, the loss. Does not belong here: which captions are asked about
(examples.py).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from synthvlm_miniature.training.text_to_image.shapes import PROJECTION, TEXT_1, TEXT_2
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing

_COLOURS, _BACKGROUNDS, _SIZES = tuple(COLOURS), tuple(BACKGROUNDS), tuple(SIZES)
_THING = [len(_COLOURS) + 1, len(SHAPES) + 1, len(_SIZES) + 1]
_MENTIONS = 3
_ASKED = [len(_BACKGROUNDS), 4] + _THING * len(PLACES) + [*_THING, len(PLACES) + 1] * _MENTIONS
"""Number of answers to each question of the read-out: background and count; what stands at each place; what
is mentioned first, second and third, and its place."""
_KNOWN = 2 + 3 * len(PLACES)
"""The questions about places and background come first."""


class ReadOut(nn.Module):
    """Linear questions to both text encoders: what is where. Kept in training only."""

    def __init__(self) -> None:
        super().__init__()
        widths = (TEXT_1["hidden_size"], TEXT_2["hidden_size"], TEXT_2["hidden_size"], PROJECTION)
        self.heads = nn.ModuleList(nn.Linear(width, sum(_ASKED)) for width in widths)

    def forward(self, embeddings: Sequence[Tensor], answers: Tensor) -> Tensor:
        """Mean cross-entropy over heads and questions."""
        answers = answers.long()
        losses = [
            functional.cross_entropy(logits, answers[:, question])
            for head, embedding in zip(self.heads, embeddings, strict=True)
            for question, logits in enumerate(head(embedding).split(_ASKED, dim=1))
        ]
        return torch.stack(losses).mean()

    @torch.no_grad()
    def accuracy(self, embedding: Tensor, answers: Tensor) -> float:
        """Share of scenes of which the pooled embedding knows everything."""
        parts = self.heads[-1](embedding).split(_ASKED, dim=1)[:_KNOWN]
        right = torch.stack([part.argmax(dim=1) for part in parts], dim=1) == answers[:, :_KNOWN]
        return right.all(dim=1).float().mean().item()


def answers(scene: Scene, text: str) -> list[int]:
    """The read-out's right answers for a caption of a scene; the last answer to a question is "nothing"."""
    nothing = [len(_COLOURS), len(SHAPES), len(_SIZES)]
    there = {thing.place: thing for thing in scene.things}
    right = [_BACKGROUNDS.index(scene.background), scene.count]
    for place in PLACES:
        right += _attributes(there[place]) if place in there else nothing
    lowered = text.lower()
    mentioned = sorted(scene.things, key=lambda thing: lowered.find(f"{thing.colour} {thing.shape}"))
    for thing in mentioned:
        right += [*_attributes(thing), PLACES.index(thing.place)]
    return right + [*nothing, len(PLACES)] * (_MENTIONS - scene.count)


def _attributes(thing: Thing) -> list[int]:
    return [_COLOURS.index(thing.colour), SHAPES.index(thing.shape), _SIZES.index(thing.size)]
