"""Pictures as a model's input.

Belongs here: bytes to floats and back. Does not belong here: drawing (synthvlm_miniature.world.drawing), the spoiling
of pictures (clip/data.py).
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

RESOLUTION = 64


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Bytes (n, height, width, 3) as float32 in [-1, 1] of shape (n, 3, height, width)."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(127.5).sub_(1.0).contiguous()


def to_pixels(tensor: Tensor) -> NDArray[np.uint8]:
    """Floats in [-1, 1] of shape (n, 3, height, width) as bytes (n, height, width, 3)."""
    pixels = tensor.clamp(-1, 1).add(1).mul(127.5).round().byte()
    return pixels.permute(0, 2, 3, 1).cpu().numpy()
