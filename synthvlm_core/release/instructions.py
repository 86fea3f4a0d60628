"""The human turn of a pair: what is asked, so that the caption is the answer.

Belongs here: drawing it. Does not belong here: how a format spells a conversation (formats/).
"""

from collections.abc import Sequence

from synthvlm_core import hashing


def instruction(instructions: Sequence[str], seed: int, caption_id: str) -> str:
    """The human turn of a caption, drawn evenly from the recipe's seed; all images of a caption share it."""
    drawn = int(hashing.digest(b"instruction", str(seed).encode(), caption_id.encode()), 16)
    return instructions[drawn % len(instructions)]
