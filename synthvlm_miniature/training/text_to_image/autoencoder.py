"""The autoencoder: 64 x 64 pictures to 8 x 8 latents of 12 channels and back.

Belongs here: its shape, encoding and decoding, the normalisation of its latents. Does not belong here: its training
(autoencoder_stage.py), text, the denoising network.

At the end of the training each latent channel is normalised to mean 0 and deviation 1 by folding the factors into
`quant_conv` and `post_quant_conv`, so that `scaling_factor` is 1 and no shift is needed.
"""

from typing import Any, TypeAlias

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from synthvlm_miniature.training.pixels import RESOLUTION, to_pixels, to_tensor
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.scenes import Scene

Model: TypeAlias = Any
"""A diffusers object: type checkers cannot follow that library's lazy imports."""
DIFFUSERS: Any = diffusers

LATENT_CHANNELS = 12
CONFIG = {
    "in_channels": 3,
    "out_channels": 3,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "block_out_channels": [16, 24, 48, 96],
    "layers_per_block": 1,
    "latent_channels": LATENT_CHANNELS,
    "norm_num_groups": 8,
    "mid_block_add_attention": False,
    "sample_size": RESOLUTION,
    "scaling_factor": 1.0,
}


def build() -> Model:
    """A fresh autoencoder; seed torch before."""
    return DIFFUSERS.AutoencoderKL(**CONFIG).to(memory_format=torch.channels_last)


def pictures(drawn: list[Scene]) -> NDArray[np.uint8]:
    """The scenes as bytes of shape (n, height, width, 3)."""
    return np.stack([np.asarray(draw(scene, RESOLUTION)) for scene in drawn])


def model_input(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Bytes (n, height, width, 3) as floats in [-1, 1] on the device, in the memory order that convolutions like."""
    return to_tensor(pixels).to(device, memory_format=torch.channels_last)


def encode(vae: Model, pixels: NDArray[np.uint8], device: torch.device, batch: int = 128) -> Tensor:
    """Means of the latents, on the CPU."""
    with torch.no_grad():
        parts = [
            vae.encode(model_input(pixels[at : at + batch], device)).latent_dist.mean.cpu()
            for at in range(0, len(pixels), batch)
        ]
    return torch.cat(parts)


def reconstruct(vae: Model, pixels: NDArray[np.uint8], batch: int = 64) -> NDArray[np.uint8]:
    """Pictures through the encoder and the decoder."""
    device = next(vae.parameters()).device
    with torch.no_grad():
        parts = [
            to_pixels(vae.decode(encode(vae, pixels[at : at + batch], device).to(device)).sample)
            for at in range(0, len(pixels), batch)
        ]
    return np.concatenate(parts)


def normalise(vae: Model, drawn: NDArray[np.uint8], device: torch.device) -> None:
    """Give every latent channel mean 0 and deviation 1 over the pictures without changing what is decoded."""
    latents = encode(vae, drawn, device)
    mean = latents.mean(dim=(0, 2, 3)).to(device)
    deviation = latents.std(dim=(0, 2, 3)).clamp_min(1e-4).to(device)
    with torch.no_grad():
        after, before = vae.quant_conv, vae.post_quant_conv
        after.weight[:LATENT_CHANNELS] /= deviation[:, None, None, None]
        after.bias[:LATENT_CHANNELS] = (after.bias[:LATENT_CHANNELS] - mean) / deviation
        after.bias[LATENT_CHANNELS:] -= 2 * deviation.log()
        before.bias += before.weight[:, :, 0, 0] @ mean
        before.weight *= deviation[None, :, None, None]
