"""The third stage: denoiser and text encoders together, with an average of their weights.

Belongs here: the loss of the predicted velocity, noise levels, the average, the loop and its kept state. Does not
belong here: the networks (parts.py), the choice of captions (examples.py).
"""

from copy import deepcopy
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.text_to_image import processes
from synthvlm_miniature.training.text_to_image.autoencoder import DIFFUSERS
from synthvlm_miniature.training.text_to_image.examples import CaptionDraw, Examples
from synthvlm_miniature.training.text_to_image.parts import Parts
from synthvlm_miniature.training.text_to_image.settings import Settings
from synthvlm_miniature.training.text_to_image.shapes import SCHEDULER, TIME_IDS

NOTHING_SHOWN = 0.1
"""Share of training examples without text, as the pipeline's empty negative prompt has none."""
READOUT_WEIGHT = 0.2
NOISY_FROM = 0.75
"""Share of the noise levels from which on text alone tells what is where."""
EMA = 0.999
"""Share of the averaged weights that a step keeps."""


def train_denoiser(
    parts: Parts,
    examples: Examples,
    settings: Settings,
    device: torch.device,
    work: Path | None = None,
    keep_every: int = 1000,
) -> tuple[Parts, list[float]]:
    """Denoiser and text encoders together; returns the averaged weights and the loss of every step.

    With a `work` folder the state is kept there now and then and a later call goes on from it, with as many
    processes as it likes.
    """
    groups = [
        {"params": list(parts.unet.parameters()), "highest": 1.5e-3},
        {"params": parts.text_parameters(), "highest": 5e-4},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.98), weight_decay=0.01)
    average = deepcopy(parts)
    weights: list[Tensor] = [parameter for module in parts.modules.values() for parameter in module.parameters()]
    means: list[Tensor] = [parameter for module in average.modules.values() for parameter in module.parameters()]
    state = None if work is None else work / "denoiser.pt"
    first = 0
    if state is not None and state.exists():
        kept = torch.load(state, map_location=device, weights_only=True)
        parts.load(kept["parts"])
        average.load(kept["average"])
        optimizer.load_state_dict(kept["optimizer"])
        first = kept["step"]
    signal = DIFFUSERS.DDIMScheduler(**SCHEDULER).alphas_cumprod.to(device)
    draw = CaptionDraw(examples.answers)
    record = optimization.Log("denoiser", 100, silent=not processes.is_first())
    for step in range(first, settings.steps):
        for share in processes.shares():
            rng = np.random.default_rng([settings.seed, 24, step, share])
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss, readout_loss = _denoising_loss(parts, examples, draw, signal, settings, rng, device)
                chosen, kinds = draw(rng, settings.extra_captions)
                asked = parts.read(examples.tokens[chosen, kinds].to(device))[2]
                readout_loss = readout_loss + parts.readout(asked, examples.answers[chosen, kinds].to(device))
            (loss + READOUT_WEIGHT * readout_loss).backward()
        for group in optimizer.param_groups:
            group["lr"] = optimization.plateau(step, settings.steps, group["highest"], 0.3)
        processes.update(optimizer)
        with torch.no_grad():
            torch._foreach_lerp_(means, weights, 1 - min(EMA, (step + 1) / (step + 10)))
        record.add(step, loss.item(), {"readout": readout_loss.item()})
        if state is not None and processes.is_first() and ((step + 1) % keep_every == 0 or step + 1 == settings.steps):
            kept = {
                "parts": parts.state,
                "average": average.state,
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save(kept, state.with_suffix(".new"))
            state.with_suffix(".new").replace(state)
    return average, record.losses


def _denoising_loss(
    parts: Parts,
    examples: Examples,
    draw: CaptionDraw,
    signal: Tensor,
    settings: Settings,
    rng: np.random.Generator,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Squared error of the predicted velocity, each caption at several noise levels; and the read-out's loss."""
    captions, levels_each = settings.captions_per_batch, settings.levels_per_caption
    chosen = draw.scenes(rng, captions)
    kinds = torch.from_numpy(rng.integers(examples.tokens.shape[1], size=captions))
    sequence, pooled, asked = parts.read(examples.tokens[chosen, kinds].to(device))
    readout_loss = parts.readout(asked, examples.answers[chosen, kinds].to(device))
    shown = torch.from_numpy(rng.random(captions) >= NOTHING_SHOWN).to(device)
    sequence, pooled = sequence * shown[:, None, None], pooled * shown[:, None]

    size = captions * levels_each
    sequence, pooled = (part.repeat_interleave(levels_each, dim=0) for part in (sequence, pooled))
    clean = examples.latents[chosen].to(device).float().repeat_interleave(levels_each, dim=0)
    even = (rng.permutation(size) + rng.random(size)) / size
    # Half of the levels are so noisy that text alone tells what is where; with less noise the picture tells it
    levels = np.where(even < 0.5, 2 * even, NOISY_FROM + (1 - NOISY_FROM) * (2 * even - 1))
    times = torch.from_numpy((levels * len(signal)).astype(np.int64)).to(device)
    noise = torch.from_numpy(rng.standard_normal(tuple(clean.shape), dtype=np.float32)).to(device)
    kept, added = signal[times].sqrt()[:, None, None, None], (1 - signal[times]).sqrt()[:, None, None, None]
    time_ids = torch.tensor(TIME_IDS, device=device, dtype=torch.float32).repeat(size, 1)
    made = parts.unet(
        (kept * clean + added * noise).contiguous(memory_format=torch.channels_last),
        times,
        sequence,
        added_cond_kwargs={"text_embeds": pooled, "time_ids": time_ids},
        return_dict=False,
    )[0]
    return functional.mse_loss(made.float(), kept * noise - added * clean), readout_loss
