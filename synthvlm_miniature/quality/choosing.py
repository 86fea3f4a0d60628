"""Is the best of four pictures by CLIPScore more often right than any one of the four?

Belongs here: what CLIPScore is worth for picking among generated pictures. Does not belong here: CLIP on real drawings
(clip.py), the pipeline's selection (synthvlm_core.selection).
"""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from synthvlm_miniature.quality import generation
from synthvlm_miniature.quality.embedding import Clip
from synthvlm_miniature.quality.shares import Row, mean_row
from synthvlm_miniature.world.agreement import agreement
from synthvlm_miniature.world.held_out import held_out_scenes
from synthvlm_miniature.world.inverse import read

PICTURES_PER_CAPTION = 4
_PICKED_ATTRIBUTES = ("colour", "shape", "size", "count", "background", "relation", "place")


def rows(clip: Clip, pipeline_folder: Path, n: int = 256, seed: int = 0) -> list[Row]:
    """Shares of right attributes and of wholly right pictures: of one in four, of the chosen, of the best there is."""
    scenes = held_out_scenes(n, "test")
    texts = generation.captions(scenes, seed)
    pipeline = generation.load(pipeline_folder)
    made = [generation.draw(pipeline, texts, seed + 100 + i) for i in range(PICTURES_PER_CAPTION)]
    said = clip.texts(texts)
    scores = torch.stack([(clip.pictures([Image.fromarray(p) for p in some]) * said).sum(1) for some in made], dim=1)
    other = torch.stack(
        [(clip.pictures([Image.fromarray(p) for p in some]) * said.roll(1, dims=0)).sum(1) for some in made], dim=1
    )
    best = scores.argmax(dim=1).tolist()
    agreed = [
        [agreement(scene, read(made[i][place])) for i in range(PICTURES_PER_CAPTION)]
        for place, scene in enumerate(scenes)
    ]
    whole = np.array([[all(v is not False for v in one.values()) for one in row] for row in agreed], dtype=np.float64)
    attributes = np.array([[_agreed(one) for one in row] for row in agreed])
    picked = np.arange(n), np.array(best)
    found = [
        mean_row("generated: cosine, matched", scores.mean(dim=1).numpy()),
        mean_row("generated: cosine, swapped", other.mean(dim=1).numpy()),
    ]
    for name, table in (("attributes right", attributes), ("wholly right", whole)):
        found.append(mean_row(f"generated: {name}, a random one of {PICTURES_PER_CAPTION}", table.mean(axis=1)))
        found.append(mean_row(f"generated: {name}, the best of {PICTURES_PER_CAPTION} by CLIPScore", table[picked]))
        gain = table[picked] - table.mean(axis=1)
        found.append(mean_row(f"generated: {name}, gain by choosing", gain))
        found.append(mean_row(f"generated: {name}, the best of {PICTURES_PER_CAPTION} there is", table.max(axis=1)))
    return found


def _agreed(attributes: dict[str, bool | None]) -> float:
    """Share of the attributes that a scene has which a picture shows."""
    asked = [found for name in _PICKED_ATTRIBUTES if (found := attributes[name]) is not None]
    return sum(asked) / len(asked)
