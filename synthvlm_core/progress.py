"""How far a stage is, told to whoever asks.

Belongs here: the form of a progress report. Does not belong here: printing it or turning it into events
(synthvlm_assets, the command line).
"""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, of how much)."""


def silent(what: str, done: int, total: int) -> None:
    """Nobody asks."""
