"""The first stage: the autoencoder on drawn pictures.

Belongs here: its training scenes, its loss, its loop. Does not belong here: its shape (autoencoder.py), text.

Noise is put on the latents in proportion to their spread, which makes them a code that the small errors of a
denoiser do not spoil.

Most of a picture is background. Without weights the loss is lowest for objects of a medium brown, so pixels
of things and their edges count seven times.
"""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from synthvlm_miniature.training import optimization
from synthvlm_miniature.training.text_to_image.autoencoder import (
    DIFFUSERS,
    Model,
    build,
    model_input,
    normalise,
    pictures,
)
from synthvlm_miniature.world.scenes import Scene, sample_scene

BATCH = 8
OBJECT_WEIGHT = 6.0
KL_WEIGHT = 1e-4
LATENT_NOISE = 0.2
"""Greatest deviation of the noise on latents, as a share of the deviation of their channel."""
_SINGLES_KEPT = 0.4


def train(
    steps: int, seed: int, device: torch.device, pool: int, checkpoint: Path | None = None
) -> tuple[Model, list[float]]:
    """Returns the autoencoder and the loss of every step.

    With a `checkpoint` folder the result is kept there and taken up by a later call.
    """
    if checkpoint is not None and (checkpoint / "diffusion_pytorch_model.safetensors").exists():
        vae = DIFFUSERS.AutoencoderKL.from_pretrained(checkpoint)
        return vae.to(device, memory_format=torch.channels_last).eval(), []
    torch.manual_seed(seed)
    vae = build().to(device)
    drawn = pictures(scenes(seed, pool))
    losses = _train(vae, drawn, steps, seed, device, checkpoint)
    normalise(vae, drawn[:2048], device)
    if checkpoint is not None:
        vae.save_pretrained(checkpoint)
    return vae.eval(), losses


def scenes(seed: int, n: int) -> list[Scene]:
    """Training scenes with more things than the world's average, as the things are what has to be learned."""
    rng = np.random.default_rng([seed, 11])
    drawn: list[Scene] = []
    while len(drawn) < n:
        scene = sample_scene(rng, "train")
        if scene.count > 1 or rng.random() < _SINGLES_KEPT:
            drawn.append(scene)
    return drawn


def picture_loss(made: Tensor, real: Tensor) -> Tensor:
    """Half the absolute plus the squared error, with things and the pixels next to them weighted up."""
    ground = real[:, :, :1, :1]
    thing = ((real - ground).abs().amax(dim=1, keepdim=True) > 0.06).float()
    weight = 1 + OBJECT_WEIGHT * functional.max_pool2d(thing, 3, 1, 1)
    error = (made - real).abs()
    return ((0.5 * error + error.square()) * weight).mean()


def _train(
    vae: Model,
    drawn: NDArray[np.uint8],
    steps: int,
    seed: int,
    device: torch.device,
    checkpoint: Path | None,
) -> list[float]:
    optimizer = torch.optim.AdamW(vae.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.0)
    rng = np.random.default_rng([seed, 12])
    record = optimization.Log("autoencoder", 100)
    vae.train()
    for step in range(steps):
        real = model_input(drawn[rng.integers(len(drawn), size=BATCH)], device)
        posterior = vae.encode(real).latent_dist
        sampled = posterior.sample()
        level = LATENT_NOISE * torch.rand((BATCH, 1, 1, 1), device=device)
        spread = sampled.std(dim=(0, 2, 3), keepdim=True)
        made = vae.decode(sampled + level * spread * torch.randn_like(sampled)).sample
        kl = 0.5 * (posterior.mean.square() + posterior.var - 1.0 - posterior.logvar).mean()
        loss = picture_loss(made, real)
        optimization.set_rate(optimizer, optimization.plateau(step, steps, 2e-3, 0.4))
        (loss + KL_WEIGHT * kl).backward()
        optimization.update(optimizer, vae.parameters())
        record.add(step, loss.item(), {"kl": kl.item()})
        if checkpoint is not None and step % 1000 == 999:
            vae.save_pretrained(checkpoint.with_name(checkpoint.name + "-running"))
    return record.losses
