"""What a training of CLIP depends on.

Belongs here: the settings and their shipped values. Does not belong here: the model's shape (model.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run depends on."""

    seed: int = 0
    steps: int = 1000
    cosine_steps: int = 2000
    """The learning rate follows a cosine made for so many steps."""
    cool_down: int = 240
    """Steps added at the end without the heads."""
    cool_down_rate: float = 4e-4
    pairs: int = 40
    """Scenes that come with an edited twin; a batch holds 2 * pairs + singles pictures."""
    singles: int = 40
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    warm_up: int = 150
    slot_weight: float = 0.3
    patch_weight: float = 0.5
    threads: int = 1
