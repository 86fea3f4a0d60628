"""What a training of the language model depends on.

Belongs here: the settings and their shipped values. Does not belong here: the texts (texts.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run depends on."""

    seed: int = 0
    steps: int = 5000
    tokens: int = 2600
    """Of a batch, with the padding."""
    width: int = 160
    layers: int = 4
    heads: int = 4
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up: int = 150
    caption_share: float = 0.26
    vague_share: float = 0.04
    judge_share: float = 0.16
    """The rest are questions."""
    dirt_rows: int = 4000
    """Of each source file that dirt for the judge is taken from."""
    threads: int = 1
