"""The tiny VLM, its set and its mix."""

from tiny_vlm import asked, mix, one_thread, released, tiny_models, tiny_recipe, tiny_vlm

__all__ = ["asked", "mix", "one_thread", "released", "tiny_models", "tiny_recipe", "tiny_vlm"]
