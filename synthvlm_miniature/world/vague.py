"""Vague captions: good grammar, and nothing of this world to draw.

Belongs here: captions that picture nothing on purpose. Does not belong here: captions of scenes (captions.py), dirt
(synthvlm_miniature.making.dirt).
"""

import numpy as np

from synthvlm_miniature.world import words
from synthvlm_miniature.world.choice import pick
from synthvlm_miniature.world.scenes import Split, in_test_bucket


def vague_caption(rng: np.random.Generator, split: Split = "train") -> str:
    """A grammatical caption that pictures nothing of this world; `test` texts are never `train` texts."""
    while True:
        text = pick(rng, words.VAGUE).format(
            feeling=pick(rng, words.FEELINGS),
            topic=pick(rng, words.TOPICS),
            time=pick(rng, words.TIMES),
            who=pick(rng, words.PEOPLE),
        )
        if in_test_bucket(text) == (split != "train"):
            return text
