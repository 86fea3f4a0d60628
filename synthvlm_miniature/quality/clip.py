"""How good is the miniature CLIP? Retrieval, matched against swapped pairs, single wrong attributes.

Belongs here: measuring the folder `clip` on held-out scenes. Does not belong here: what its patches say (patches.py),
what CLIPScore is worth for picking (choosing.py), training, the table's layout.

Captions say every attribute and take turns in style. Wins count scenes whose right caption scores above the same words
with one wrong attribute; 0.5 is chance.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from synthvlm_miniature.quality import choosing, patches
from synthvlm_miniature.quality.embedding import Clip
from synthvlm_miniature.quality.shares import Row, Share, mean_row, share_row
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.edits import edited_captions
from synthvlm_miniature.world.held_out import HeldOutSplit, held_out_scenes
from synthvlm_miniature.world.scenes import Scene

POOL = 64


def rows(models: Path, n: int = 1024) -> list[Row]:
    """The CLIP part of the quality table: (name, value, note with n and 95 % interval)."""
    clip = Clip(models / "clip")
    found = [row for split in ("test", "held_out") for row in on_drawings(clip, n, split)]
    found += patches.rows(models / "clip-vision", n)
    if (models / "text-to-image").is_dir():
        found += choosing.rows(clip, models / "text-to-image")
    return found


def on_drawings(clip: Clip, n: int, split: HeldOutSplit) -> list[Row]:
    """Retrieval, cosines and wins on the drawings of the first `n` scenes of a split."""
    scenes = held_out_scenes(n, split)
    rng = np.random.default_rng([n, 41])
    styles = [STYLES[i % len(STYLES)] for i in range(n)]
    texts = [caption(scene, rng, style, "full") for scene, style in zip(scenes, styles, strict=True)]
    images = clip.pictures([draw(scene, 64) for scene in scenes])
    cosines = images @ clip.texts(texts).T
    found = []
    for name, table in (("image to text", cosines), ("text to image", cosines.T)):
        pools = [table[at : at + POOL, at : at + POOL] for at in range(0, n - POOL + 1, POOL)]
        right = sum(int((pool.argmax(dim=1) == torch.arange(POOL)).sum()) for pool in pools)
        found.append(share_row(f"CLIP {split} {name}, top-1 of {POOL}", Share(right, POOL * len(pools))))
    matched = cosines.diagonal().numpy()
    swapped = cosines.roll(1, dims=1).diagonal().numpy()
    found.append(mean_row(f"CLIP {split} cosine, matched", matched))
    found.append(mean_row(f"CLIP {split} cosine, swapped", swapped))
    found.append(mean_row(f"CLIP {split} cosine, matched less swapped", matched - swapped))
    return found + _wins(clip, scenes, images, split)


def _wins(clip: Clip, scenes: Sequence[Scene], images: torch.Tensor, split: str) -> list[Row]:
    rng = np.random.default_rng([len(scenes), 42])
    asked: dict[str, list[tuple[int, str, str]]] = {}
    for number, scene in enumerate(scenes):
        for kind, (right, wrong) in edited_captions(scene, rng).items():
            asked.setdefault(kind, []).append((number, right, wrong))
    found = []
    for kind, cases in asked.items():
        of_scene = images[[number for number, _, _ in cases]]
        rights = (of_scene * clip.texts([text for _, text, _ in cases])).sum(dim=1)
        wrongs = (of_scene * clip.texts([text for _, _, text in cases])).sum(dim=1)
        share = Share(int((rights > wrongs).sum()), len(cases))
        name, value, note = share_row(f"CLIP {split} notices a wrong {kind}", share)
        found.append((name, value, f"{note}; cosine falls by {float((rights - wrongs).mean()):.3f}"))
    return found
