"""The miniature's instruction mix: conversations about drawn scenes in LLaVA's JSON form, and their pictures.

Belongs here: which questions a conversation asks, the two files. Does not belong here: questions and captions
themselves (synthvlm_miniature.world), reading a mix (`synthvlm_core.training.data`), the held-out questions
(benchmark.py).

    instructions.json   a list of {"id", "image", "conversations"}, as LLaVA-665K has it
    instructions.zip    the pictures, one exact PNG each

Scenes come from the split `train` alone, so that nothing here describes a scene of the benchmark. One row in sixteen is
text alone, with a caption in the picture's place, so that the language model keeps what it knew.

Bytes depend on the seed and the Pillow version alone.
"""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from synthvlm_miniature.making.archives import add_to_zip, png
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.questions import DESCRIPTION_REQUESTS, questions
from synthvlm_miniature.world.scenes import sample_scene

SEED = 50_123
ROWS = 4000
TEXT_ONLY_EVERY = 16
DESCRIBED_SHARE = 0.15
"""Of the pictured rows, those whose first turn asks for a description."""
TURNS = 3
"""Of a row. Later turns can often be answered from earlier ones, and tokens cost time that more pictures repay."""
RESOLUTION = 64


def rows(n: int = ROWS, seed: int = SEED) -> Iterator[tuple[dict[str, Any], Image.Image | None]]:
    """The first `n` rows in LLaVA's form, each with its picture, or None where it is text alone."""
    for number in range(n):
        rng = np.random.default_rng([seed, number])
        scene = sample_scene(rng)
        asked = [(question.question, question.answer) for question in questions(scene, rng)]
        row: dict[str, Any] = {"id": f"{number:06d}"}
        picture = None
        if number % TEXT_ONLY_EVERY == TEXT_ONLY_EVERY - 1:
            style = STYLES[number // TEXT_ONLY_EVERY % len(STYLES)]
            head = f"{caption(scene, rng, style, 'full')}\n"
        else:
            picture, row["image"], head = draw(scene, RESOLUTION), f"{number:06d}.png", "<image>\n"
            if rng.random() < DESCRIBED_SHARE:
                wanted = DESCRIPTION_REQUESTS[int(rng.integers(len(DESCRIPTION_REQUESTS)))]
                asked = [(wanted, caption(scene, rng)), *asked]
        asked = asked[:TURNS]
        row["conversations"] = [
            {"from": who, "value": (head if at == 0 and who == "human" else "") + text}
            for at, turn in enumerate(asked)
            for who, text in zip(("human", "gpt"), turn, strict=True)
        ]
        yield row, picture


def write(folder: Path, n: int = ROWS, seed: int = SEED) -> list[Path]:
    """Write `instructions.json` and `instructions.zip` into a folder and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "instructions.json"
    lines = []
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        for row, picture in rows(n, seed):
            lines.append(json.dumps(row, separators=(",", ":")))
            if picture is not None:
                add_to_zip(archive, row["image"], png(picture))
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    return [path, path.with_suffix(".zip")]
