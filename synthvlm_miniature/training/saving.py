"""Weights as they ship: half precision, on the CPU.

Belongs here: the copy that is written. Does not belong here: which files a model's folder has (the rooms beside this
module).
"""

from copy import deepcopy
from typing import Any

import torch


def half(module: Any) -> Any:
    """A copy of a module in float16 on the CPU, its memory in the usual order; the module itself stays as it is."""
    return deepcopy(module).to("cpu", torch.float16, memory_format=torch.contiguous_format)
