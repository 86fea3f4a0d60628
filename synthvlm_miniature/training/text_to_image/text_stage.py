"""The second stage: the text encoders alone, asked by the read-out.

Belongs here: the loop. Does not belong here: the questions (readout.py), the choice of captions (examples.py).
"""

import numpy as np
import torch

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.text_to_image import processes
from synthvlm_miniature.training.text_to_image.examples import CaptionDraw, Examples
from synthvlm_miniature.training.text_to_image.parts import Parts
from synthvlm_miniature.training.text_to_image.settings import Settings


def train_text(parts: Parts, examples: Examples, settings: Settings, device: torch.device) -> list[float]:
    """Text encoders and read-out alone; returns the loss of every step."""
    optimizer = torch.optim.AdamW(parts.text_parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    record = optimization.Log("text", 50, silent=not processes.is_first())
    draw = CaptionDraw(examples.answers)
    for step in range(settings.text_steps):
        for share in processes.shares():
            rng = np.random.default_rng([settings.seed, 23, step, share])
            chosen, kinds = draw(rng, settings.text_batch)
            found = examples.answers[chosen, kinds].to(device)
            asked = parts.read(examples.tokens[chosen, kinds].to(device))[2]
            loss = parts.readout(asked, found)
            loss.backward()
        optimization.set_rate(optimizer, optimization.plateau(step, settings.text_steps, 1.5e-3, 0.3))
        processes.update(optimizer)
        record.add(step, loss.item(), {"whole scenes known": parts.readout.accuracy(asked[-1], found)})
    return record.losses
