import numpy as np
import torch

from synthvlm_miniature.training.text_to_image import autoencoder
from synthvlm_miniature.training.text_to_image.autoencoder_stage import scenes


def test_normalisation_changes_latents_and_not_pictures() -> None:
    torch.manual_seed(0)
    model = autoencoder.build()
    drawn = autoencoder.pictures(scenes(0, 16))
    before = autoencoder.reconstruct(model, drawn).astype(int)
    autoencoder.normalise(model, drawn, torch.device("cpu"))
    latents = autoencoder.encode(model, drawn, torch.device("cpu"))
    assert torch.allclose(latents.mean(dim=(0, 2, 3)), torch.zeros(autoencoder.LATENT_CHANNELS), atol=1e-3)
    assert torch.allclose(latents.std(dim=(0, 2, 3)), torch.ones(autoencoder.LATENT_CHANNELS), atol=1e-3)
    assert np.abs(autoencoder.reconstruct(model, drawn).astype(int) - before).max() <= 1
