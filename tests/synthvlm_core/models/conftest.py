"""The tiny VLM and what it is made of, and tiny CLIPs."""

from tiny_clip import clip_folder, miniature_clip_folder, transformers_clip_folder
from tiny_vlm import asked, mix, one_thread, tiny_models, tiny_recipe, tiny_vlm

__all__ = [
    "asked",
    "clip_folder",
    "miniature_clip_folder",
    "mix",
    "one_thread",
    "tiny_models",
    "tiny_recipe",
    "tiny_vlm",
    "transformers_clip_folder",
]
