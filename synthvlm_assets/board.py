"""How far several runs are, at one glance: a table in a terminal, lines elsewhere.

Belongs here: showing. Does not belong here: what workers note down (progress.py), starting runs (demo.py).
"""

import time
from operator import attrgetter
from pathlib import Path

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from synthvlm_assets.progress import Note, notes, shown_rate, shown_seconds

LINE_SECONDS = 20.0
"""Time between two lines about one run where nobody sees a table."""


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
            cells = ["starting", "", "", "", "", ""]
            if note := _latest(found, partition, began):
                cells = [note.stage, note.what, f"{note.done:,}", f"{note.total:,}" if note.total else "?"]
                cells += [shown_rate(note.rate), shown_seconds(note.left)]
            table.add_row(job.replace("_", " "), partition, *cells, shown_seconds(time.time() - began))
        return Group(Text(), table)


def _latest(found: list[Note], partition: str, began: float) -> Note | None:
    """What a run is at: the last note about its partition since it began."""
    mine = [note for note in found if note.partition == partition and note.written >= began]
    return max(mine, key=attrgetter("written"), default=None)
