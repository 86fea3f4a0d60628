"""One step shared by one or two processes, with the same result but for rounding.

Belongs here: who works on which batch, the sum of gradients. Does not belong here: what a batch is (the stages).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, distributed

from synthvlm_miniature.training import optimization

SHARES = 2
"""Batches in a step, whose gradients are averaged."""


def join(rank: int, processes: int, meeting: Path) -> None:
    """Become one of several processes that meet by a file; alone, there is nothing to join."""
    if processes > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{meeting.absolute()}", rank=rank, world_size=processes
        )


def leave() -> None:
    """Wait for the others and part."""
    if distributed.is_initialized():
        distributed.barrier()
        distributed.destroy_process_group()


def shares() -> range:
    """The batches of a step that this process works on."""
    if not distributed.is_initialized():
        return range(SHARES)
    return range(distributed.get_rank(), SHARES, distributed.get_world_size())


def is_first() -> bool:
    """Whether this process writes and prints."""
    return not distributed.is_initialized() or distributed.get_rank() == 0


def update(optimizer: torch.optim.Optimizer) -> None:
    """A step along the mean gradient of all shares."""
    parameters = optimization.optimized(optimizer)
    _sum_gradients(parameters)
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= SHARES
    optimization.update(optimizer, parameters)


def _sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Over the processes of the group; parameters that the loss does not reach have none in any of them."""
    if not distributed.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, part in zip(gradients, torch.split(flat, [gradient.numel() for gradient in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
