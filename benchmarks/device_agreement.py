"""How equal the pictures of one recipe are that another batch size, or the CPU beside the GPU, draws.

    python benchmarks/device_agreement.py [RECIPE] [--captions 64]

Draws the same requests with the recipe's batch size twice, with other batch sizes, and, where there is an accelerator,
on the CPU (a process of its own that sees none). Of each it prints how many pictures have the same 8-bit pixels, and so
the same bytes, and the least PSNR. The recipe is the name of a preset or a file; the default is `miniature`.

Last result, 2 CPU cores: drawn twice 64 of 64 the same; against batches of 1, 54 the same and 83.0 dB at least; of 8,
57 and 86.0 dB; of 64, all. On a GPU it has not run since convolutions are computed in float32 (docs/images.md).
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from synthvlm_core import hashing
from synthvlm_core.images import encoding
from synthvlm_core.parts.generator import Request
from synthvlm_core.recipe import loading as recipes
from synthvlm_core.stages import context

SHAPES = ("a red circle", "two blue squares on a white background", "a green triangle above a yellow star")
OTHER_BATCHES = (1, 8, 64)

Pictures = NDArray[np.uint8]
"""captions x height x width x 3."""


def draw(name: str, captions: int, batch: int | None = None) -> Pictures:
    recipe = recipes.load(name)
    generator = recipe.generator.model_copy(update={"batch_size": batch or recipe.generator.batch_size})
    drawer = generator.load(context(recipe))
    requests = [
        Request(hashing.digest(str(number).encode()), f"{SHAPES[number % len(SHAPES)]}, picture {number}", 0, 0)
        for number in range(captions)
    ]
    found = []
    for start in range(0, captions, generator.batch_size):
        for drawn in drawer.draw(requests[start : start + generator.batch_size]):
            if drawn.pixels is None:
                raise SystemExit(f"the generator refused {drawn.request.text!r}: only one that draws can be compared")
            found.append(encoding.to_bytes(drawn.pixels))
    return np.stack(found)


def compare(first: Pictures, second: Pictures, what: str) -> None:
    error = np.square(first.astype(float) - second).mean(axis=(1, 2, 3))
    least = f", the least alike at {10 * np.log10(255**2 / error.max()):.1f} dB" if error.any() else ""
    print(f"{what:<44} {int((error == 0).sum()):>4} of {len(first)} the same{least}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe", nargs="?", default="miniature")
    parser.add_argument("--captions", type=int, default=64)
    parser.add_argument("--into", help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.into:
        np.save(told.into, draw(told.recipe, told.captions))
        return
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else "the CPU"
    first = draw(told.recipe, told.captions)
    compare(first, draw(told.recipe, told.captions), f"on {where}, drawn twice")
    for batch in OTHER_BATCHES:
        compare(first, draw(told.recipe, told.captions, batch), f"on {where}, against batches of {batch}")
    if torch.cuda.is_available():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "cpu.npy")
            again = [sys.executable, __file__, told.recipe, "--captions", str(told.captions), "--into", str(file)]
            subprocess.run(again, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""}, check=True)
            compare(first, np.load(file), f"on {where}, against the CPU")


if __name__ == "__main__":
    main()
