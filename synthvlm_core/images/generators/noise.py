"""The noise that an image grows from: the same bits on every machine.

Belongs here: streams of random numbers and initial latents. Does not belong here: seeds (parts/generator.py) and the
shape of latents (the generators).
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def noise_stream(seed: int) -> "torch.Generator":
    """The CPU stream that all noise of one image comes from, latents first, then what a stochastic scheduler adds."""
    import torch

    return torch.Generator("cpu").manual_seed(seed)


def initial_latents(stream: "torch.Generator", shape: tuple[int, ...]) -> "torch.Tensor":
    """The next unit normal numbers of a stream, float32 on the CPU: the same bits on any processor, in any batch."""
    import torch

    # in float32 torch takes another approximation of the logarithm on AVX2 than elsewhere, and 38 % of the values
    # differ in their last bits; in float64 the paths differ far below what rounding to float32 keeps
    return torch.randn(shape, generator=stream, dtype=torch.float64, device="cpu").to(torch.float32)
