"""How far the stages of several runs are, at one glance: what workers note down, and the table of it.

Belongs here: the notes in the folder that SYNTHVLM_PROGRESS names, and showing them in a terminal or as lines of a log.
Does not belong here: starting runs (demo.py), the log lines that Dagster keeps (worker.py). A note is for people: one
that cannot be written or read is left out, and no work fails for it.
"""

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from operator import attrgetter
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from synthvlm_core import graph
from synthvlm_core.progress import Progress

FOLDER = "SYNTHVLM_PROGRESS"
NOTE_SECONDS = 0.2
"""Least time between two notes of one kind of work."""
LINE_SECONDS = 20.0
"""Time between two lines about one run where nobody sees a table."""
_ORDER = {stage.name: number for number, stage in enumerate(graph.STAGES)}


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
        rate = f", {_rate(self.rate)}" if self.rate else ""
        left = f", {_seconds(self.left)} left" if self.left is not None else ""
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
    """The latest note of every worker, in the order of the graph."""
    found = []
    for path in folder.glob("*.json"):
        with contextlib.suppress(OSError, ValueError, TypeError):
            found.append(Note(**json.loads(path.read_text())))
    return sorted(found, key=lambda note: (note.partition, _ORDER.get(note.stage, 0)))


class Board:
    """The runs that are at work: a table that renews itself in a terminal, a line now and then elsewhere.

    Use it as a context and call `look` often.

    Args:
        folder: where workers note down how far they are.
        console: where to show it; the terminal by default.
    """

    def __init__(self, folder: Path, console: Console | None = None) -> None:
        self._folder = folder
        self._console = console or Console()
        self._running: dict[tuple[str, str], float] = {}
        self._lines: dict[str, float] = {}
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> "Board":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._live.stop()

    def begin(self, job: str, partition: str) -> None:
        """A run has begun."""
        self._running[job, partition] = time.time()

    def end(self, job: str, partition: str, told: str) -> None:
        """A run has ended, and says so."""
        del self._running[job, partition]
        self._console.print(Text(told), soft_wrap=True)

    def look(self) -> None:
        """Show how far everything is."""
        found = notes(self._folder)
        if self._console.is_terminal:
            self._live.update(self._table(found), refresh=True)
            return
        for (_, partition), began in self._running.items():
            mine = [note for note in found if note.partition == partition and note.written >= began]
            if mine and time.time() - self._lines.get(partition, began) >= LINE_SECONDS:
                self._lines[partition] = time.time()
                self._console.print(Text(f"  {max(mine, key=attrgetter('written')).told}"), soft_wrap=True)

    def _table(self, found: list[Note]) -> Group:
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        for name in ("run", "partition", "stage", "doing"):
            table.add_column(name, no_wrap=True)
        for name in ("done", "of", "rate", "left", "time"):
            table.add_column(name, justify="right", no_wrap=True)
        for (job, partition), began in self._running.items():
            mine = [note for note in found if note.partition == partition and note.written >= began]
            cells = ["starting", "", "", "", "", ""]
            if mine:
                note = max(mine, key=attrgetter("written"))
                cells = [note.stage, note.what, f"{note.done:,}", f"{note.total:,}" if note.total else "?"]
                cells += [_rate(note.rate), _seconds(note.left)]
            table.add_row(job.replace("_", " "), partition, *cells, _seconds(time.time() - began))
        return Group(Text(), table)


def _rate(rate: float | None) -> str:
    if rate is None:
        return ""
    return f"{rate:,.0f}/s" if rate >= 10 else f"{rate:.1f}/s" if rate >= 0.1 else f"{rate * 60:.1f}/min"


def _seconds(seconds: float | None) -> str:
    if seconds is None:
        return ""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
