"""How far a stage is, told to whoever asks.

Belongs here: the form of a progress report. Does not belong here: printing it or turning it into events
(synthvlm_assets, the command line).
"""

from collections.abc import Callable

Progress = Callable[[str, int, int], None]
"""Called with (what is done, how much of it, of how much).

What is done may go on behind a colon with where: "files: part-1.tsv, 50,000 rows". Work that takes longer than minutes
tells something new now and then: a worker that tells nothing new for long is taken for stuck.
"""


def silent(what: str, done: int, total: int) -> None:
    """Nobody asks."""
