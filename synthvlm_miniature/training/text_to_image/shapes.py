"""The shapes of the text encoders and the denoiser, and the noise schedule.

Belongs here: configuration. Does not belong here: building and training (parts.py and the stages).
"""

from typing import Any

from synthvlm_miniature.training.pixels import RESOLUTION
from synthvlm_miniature.training.text_to_image.autoencoder import LATENT_CHANNELS

SCHEDULER = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True,
    "timestep_spacing": "trailing",
    "clip_sample": False,
    "set_alpha_to_one": True,
}
TEXT_1: dict[str, Any] = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 3, "num_attention_heads": 2}
TEXT_2: dict[str, Any] = {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 5, "num_attention_heads": 3}
PROJECTION = 128
TIME_ID_WIDTH = 8
UNET = {
    "sample_size": 8,
    "in_channels": LATENT_CHANNELS,
    "out_channels": LATENT_CHANNELS,
    "block_out_channels": [64, 128],
    "down_block_types": ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 1,
    "transformer_layers_per_block": 1,
    "attention_head_dim": [2, 4],
    "cross_attention_dim": TEXT_1["hidden_size"] + TEXT_2["hidden_size"],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": TIME_ID_WIDTH,
    "projection_class_embeddings_input_dim": PROJECTION + 6 * TIME_ID_WIDTH,
    "resnet_time_scale_shift": "scale_shift",
    "norm_num_groups": 16,
    "use_linear_projection": True,
}

TIME_IDS = [RESOLUTION, RESOLUTION, 0, 0, RESOLUTION, RESOLUTION]
"""SDXL's original size, crop and target size: always the same here."""
