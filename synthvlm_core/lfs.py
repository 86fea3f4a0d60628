"""Pointers of Git LFS: what a clone holds in place of large files until they are fetched.

Belongs here: recognising them, and the words for them. Does not belong here: which files are looked at (the callers).
"""

from collections.abc import Iterable
from pathlib import Path

MARK = b"version https://git-lfs.github.com/spec/"
MAX_BYTES = 1024
"""Of a pointer, as Git LFS itself bounds it."""
WHAT = "is a pointer of Git LFS, not the file itself"
REMEDY = "git lfs pull"
"""The command that fetches the file."""


def is_pointer(path: Path) -> bool:
    """Whether a file is a pointer. Looks into small files only; what cannot be read is none."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_BYTES:
            return False
        with path.open("rb") as file:
            return file.read(len(MARK)) == MARK
    except OSError:  # whoever needs the file says so
        return False


def told(paths: Iterable[Path]) -> str | None:
    """What is wrong with those of some files that are pointers, and the remedy; None if none is."""
    found = [path for path in paths if is_pointer(path)]
    if not found:
        return None
    more = f" and {len(found) - 1} more in {found[0].parent}" if len(found) > 1 else ""
    are = "are pointers of Git LFS, not the files themselves" if more else WHAT
    return f"{found[0]}{more} {are}; fetch {'them' if more else 'it'}: {REMEDY}"
