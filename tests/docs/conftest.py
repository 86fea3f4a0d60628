"""The tiny VLM, its set, its mix and its questions."""

from tiny_vlm import asked, mix, one_thread, released, tiny_models, tiny_recipe

__all__ = ["asked", "mix", "one_thread", "released", "tiny_models", "tiny_recipe"]
