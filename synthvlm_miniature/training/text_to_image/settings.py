"""What a training of the text-to-image model depends on.

Belongs here: the settings and their shipped values. Does not belong here: the shapes of the networks (parts.py,
autoencoder.py).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run depends on."""

    seed: int = 2024
    pool: int = 48_000
    """Training scenes of the text encoders and the denoiser."""
    autoencoder_pool: int = 16_000
    """Pictures of the autoencoder; never more than `pool`."""
    vae_steps: int = 3400
    text_steps: int = 1000
    text_batch: int = 64
    steps: int = 3000
    """Of the denoiser and the text encoders together."""
    captions_per_batch: int = 16
    levels_per_caption: int = 3
    """Noise levels at which each caption's picture is denoised."""
    extra_captions: int = 16
    """For the read-out alone, in a batch of the denoiser."""
    processes: int = 2
    """Share the later stages, a batch for each."""
    threads: int = 1
    """Of a process; results depend on it slightly."""
