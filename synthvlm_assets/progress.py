"""What workers note down of how far they are, for whoever watches several runs.

Belongs here: the notes in the folder that SYNTHVLM_PROGRESS names. Does not belong here: showing them (board.py), the
log lines that Dagster keeps (worker.py). A note is for people: one that cannot be written or read is left out, and no
work fails for it.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from synthvlm_core.progress import Progress

FOLDER = "SYNTHVLM_PROGRESS"
NOTE_SECONDS = 0.2
"""Least time between two notes of one kind of work."""


@dataclass(frozen=True)
class Note:
    """What one worker is at."""

    stage: str
    partition: str
    what: str
    """The kind of work: images, questions."""
    done: int
    total: int
    """0: nobody knows."""
    rate: float | None
    """Done a second since this kind of work began; None: nothing yet."""
    written: float
    """time.time()"""

    @property
    def left(self) -> float | None:
        """Seconds that this kind of work takes on, at its rate so far."""
        return (self.total - self.done) / self.rate if self.rate and self.total else None

    @property
    def told(self) -> str:
        """In words, for a log."""
        of = f" of {self.total:,}" if self.total else ""
        rate = f", {shown_rate(self.rate)}" if self.rate else ""
        left = f", {shown_seconds(self.left)} left" if self.left is not None else ""
        return f"{self.stage} of {self.partition}: {self.what} {self.done:,}{of}{rate}{left}"


def noting(stage: str, partition: str) -> Progress:
    """What a worker calls with its progress: notes it where SYNTHVLM_PROGRESS names a folder, else does nothing."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return lambda what, done, total: None
    path = Path(folder, f"{stage}.{partition}.json")
    began: dict[str, tuple[float, int]] = {}
    last = [0.0]

    def note(what: str, done: int, total: int) -> None:
        now = time.time()
        kind = what.partition(":")[0]
        since, first = began.setdefault(kind, (now, done))
        if now - last[0] < NOTE_SECONDS and done != total:
            return
        last[0] = now
        rate = (done - first) / (now - since) if done > first and now > since else None
        unfinished = path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):
            unfinished.write_text(json.dumps(asdict(Note(stage, partition, kind, done, total, rate, now))))
            unfinished.replace(path)

    return note


def notes(folder: Path) -> list[Note]:
    """The latest note of every worker."""
    found = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Note(**json.loads(path.read_text())))
    return found


def shown_rate(rate: float | None) -> str:
    """For a person; empty where nobody knows."""
    if rate is None:
        return ""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"


def shown_seconds(seconds: float | None) -> str:
    """As minutes and seconds; empty where nobody knows."""
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
