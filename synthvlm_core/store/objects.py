"""The store: whole objects in a folder or bucket, any fsspec URL.

Belongs here: putting bytes so that an object appears whole or not at all, and reading them back. Does not belong
here: what the bytes are (tables.py) or where a stage keeps them (the stages).
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from synthvlm_core.errors import Mendable

LEFTOVER_SECONDS = 24 * 3600


class Store:
    """A root folder or bucket.

    Objects are small enough to be held in memory, at most a few hundred megabytes: they are built there and put
    once. On local disk that is a temporary file, fsync and a link; on object stores one put with create-if-absent.
    (Leaving an fsspec `open` for writing by an exception commits a truncated object, so nothing is written that way.)
    """

    def __init__(self, url: str) -> None:
        self.fs, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        self.root: str = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)

    def path(self, *parts: str) -> str:
        """Path below the root, as the file system wants it."""
        return "/".join((self.root, *parts))

    def url(self, *parts: str) -> str:
        """URL of a path below the root, for people and metadata."""
        return self.unstrip(self.path(*parts))

    def unstrip(self, path: str) -> str:
        """The URL of a path as the file system wants it."""
        return str(self.fs.unstrip_protocol(path))

    def put(self, path: str, data: bytes) -> bool:
        """Create an object unless one is there. Returns whether this call created it."""
        if self.local:
            with self._temporary(path, data) as temporary:
                try:
                    os.link(temporary, path)
                except FileExistsError:
                    return False
                except OSError as error:
                    raise Mendable(
                        f"{path}: this file system has no hard links ({error}), which whole writes need; "
                        "put the store on another one"
                    ) from error
            _sync_folder(path)
            return True
        try:
            self.fs.pipe_file(path, data, mode="create")
        except OSError:  # servers spell "it is there already" differently; losing a race is no error
            if self.fs.exists(path):
                return False
            raise
        return True

    def replace(self, path: str, data: bytes) -> None:
        """Put an object in place of whatever is there; readers see the old one or the new one, whole."""
        if self.local:
            with self._temporary(path, data) as temporary:
                os.replace(temporary, path)
            _sync_folder(path)
        else:
            self.fs.pipe_file(path, data)

    def get(self, path: str) -> bytes:
        """All bytes of an object. Raises FileNotFoundError."""
        return bytes(self.fs.cat_file(path))

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        return bool(self.fs.exists(path))

    def put_json(self, path: str, value: Any) -> None:
        """Replace an object by a JSON document, readable by people."""
        self.replace(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode())

    def get_json(self, path: str) -> Any | None:
        """A JSON document, None if there is none. Raises Mendable naming an unreadable one."""
        try:
            data = self.get(path)
        except FileNotFoundError:
            return None
        try:
            return json.loads(data)
        except ValueError as error:
            raise Mendable(f"{self.fs.unstrip_protocol(path)}: not JSON; delete it and materialize again") from error

    def files(self, folder: str, suffix: str) -> list[str]:
        """Names, sorted, of the objects directly in a folder that end in `suffix`; empty if there is no folder."""
        try:
            entries = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        names = [entry["name"].rsplit("/", 1)[-1] for entry in entries if entry["type"] == "file"]
        return sorted(name for name in names if name.endswith(suffix))

    def set_aside(self, path: str) -> str:
        """Move a damaged object into a `damaged` folder beside it, out of readers' sight. Returns its new path."""
        folder, name = path.rsplit("/", 1)
        target = f"{folder}/damaged/{name}"
        self.fs.makedirs(f"{folder}/damaged", exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # another run may have moved it already
            self.fs.mv(path, target)
        return target

    def sweep(self, folder: str) -> None:
        """Remove what killed writers left in a local folder more than a day ago; object stores leave nothing."""
        if self.local and Path(folder).is_dir():
            for path in Path(folder).glob(".*.tmp"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > LEFTOVER_SECONDS:
                        path.unlink()

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes) -> Iterator[Path]:
        """A synced file with these bytes in the target's folder, gone afterwards."""
        folder = Path(path).parent
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield temporary
        finally:
            temporary.unlink(missing_ok=True)


def _sync_folder(path: str) -> None:
    """Make a new directory entry durable."""
    descriptor = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
