"""One step down a loss, and the learning rate at it, for every model of the miniature.

Belongs here: the optimizer's groups, the update, the schedules, the lines that a run prints. Does not belong here:
losses and batches, which differ from model to model, and the gradients of several processes
(text_to_image/processes.py).
"""

import math
import sys
import time
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

GREATEST_NORM = 1.0
"""To which gradients are cut."""
IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out."""


def device() -> torch.device:
    """Where a run computes: on the accelerator if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def decayed_adamw(parameters: Iterable[nn.Parameter], rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW in two groups: matrices decay, biases, gains and single numbers do not."""
    listed = list(parameters)
    groups = [
        {"params": [p for p in listed if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in listed if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def optimized(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    """All parameters of an optimizer, group after group."""
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """The same learning rate for all groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def update(optimizer: torch.optim.Optimizer, parameters: Iterable[Tensor]) -> None:
    """A step along the gradients, cut to `GREATEST_NORM`, which are forgotten afterwards.

    Args:
        parameters: those whose gradients are measured; their order decides how the norm is rounded.
    """
    nn.utils.clip_grad_norm_(parameters, GREATEST_NORM)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def cosine(step: int, steps: int, highest: float, warm_up: int) -> float:
    """Linear warm-up, then a cosine to a hundredth at `steps`."""
    if step < warm_up:
        return highest * (step + 1) / warm_up
    share = (step - warm_up) / max(1, steps - warm_up)
    return highest * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))


def plateau(step: int, steps: int, highest: float, decay_share: float, warm_up: int = 100) -> float:
    """Linear warm-up, constant, linear decay to a fiftieth over the last share of the steps."""
    left = (steps - step) / max(1.0, decay_share * steps)
    return highest * min(1.0, (step + 1) / warm_up, max(left, 0.02))


class Log:
    """The losses of a run; every `every` steps their recent mean goes to stderr, with the CPU time so far."""

    def __init__(self, stage: str, every: int, *, silent: bool = False) -> None:
        self.stage, self.every, self.silent = stage, every, silent
        self.losses: list[float] = []
        self._started = time.process_time()

    def add(self, step: int, loss: float, parts: Mapping[str, float] | None = None) -> None:
        """Keep a step's loss; `parts` are printed beside it."""
        self.losses.append(loss)
        if not self.silent and len(self.losses) % self.every == 0:
            recent = self.losses[-self.every :]
            shown = "".join(f" {name} {value:.3f}" for name, value in (parts or {}).items())
            seconds = time.process_time() - self._started
            line = f"{self.stage} step {step + 1} loss {sum(recent) / len(recent):.4f}{shown} cpu {seconds:.0f}s"
            print(line, file=sys.stderr, flush=True)
