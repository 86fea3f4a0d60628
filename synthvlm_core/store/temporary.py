"""Folders for what does not outlive a process, on this machine's disk.

Belongs here: making one, and removing those of processes that were killed. Does not belong here: what lies in them.

A folder `synthvlm-<what>-<random>` stands beside a file of that name with `.lock`, locked as long as its owner lives.
Whoever makes a folder removes those whose lock nobody holds. Process ids would not tell: containers that share a folder
for temporary files have the same ones.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from synthvlm_core import machine

_PREFIX = "synthvlm-"
_LOCK = ".lock"
UNLOCKED_SECONDS = 60
"""A lock younger than this, without its folder, may be one that its owner does not hold yet."""


@contextlib.contextmanager
def folder(what: str) -> Iterator[Path]:
    """An empty folder for this user alone, below the folder for temporary files (TMPDIR), gone afterwards.

    Raises:
        Unusable: if the disk is full, of whatever works in it too.
    """
    sweep()
    with machine.at(tempfile.gettempdir()):
        descriptor, name = tempfile.mkstemp(_LOCK, f"{_PREFIX}{what}-")
    lock = Path(name)
    made = lock.with_name(lock.name.removesuffix(_LOCK))
    try:
        with machine.at(tempfile.gettempdir()):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            made.mkdir(mode=0o700)
            yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def sweep() -> None:
    """Remove the folders whose owners live no more; they can be as large as the data."""
    for lock in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*{_LOCK}"):
        # held by its owner, removed by another sweeper, or another user's: all of them are left alone
        with contextlib.suppress(OSError), lock.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            made = lock.with_name(lock.name.removesuffix(_LOCK))
            if made.is_dir() or time.time() - os.fstat(file.fileno()).st_mtime > UNLOCKED_SECONDS:
                shutil.rmtree(made, ignore_errors=True)
                lock.unlink()
