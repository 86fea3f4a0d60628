"""The store: whole objects in a folder or bucket, any fsspec URL.

Belongs here: putting bytes so that an object appears whole or not at all, reading them back, and the one door through
which JSON documents are read. Does not belong here: what the bytes are (records.py, documents.py) or where a stage
keeps them (the stages).
"""

import contextlib
import errno
import fcntl
import functools
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from pydantic import TypeAdapter, ValidationError

from synthvlm_core import machine
from synthvlm_core.errors import Mendable

LEFTOVER_SECONDS = 60
"""An empty temporary file younger than this may be one whose writer has not locked it yet."""


class DamagedObject(Mendable):
    """Something stands in the store where an object should be, and is none; the message names it and the remedy."""


class DamagedDocument(DamagedObject):
    """A JSON document that is not of the form it should have; the message names it, what is wrong and the remedy."""


class Store:
    """A root folder or bucket.

    Objects are small enough to be held in memory, at most a few hundred megabytes: they are built there and put
    once. On local disk that is a temporary file, fsync and a link; on object stores one put with create-if-absent.
    (Leaving an fsspec `open` for writing by an exception commits a truncated object, so nothing is written that way.)

    A full disk, a missing right or bucket and the like are told as `machine.Unusable` by whatever meets them.

    Raises:
        Unusable: if nothing here reads such a URL.
    """

    def __init__(self, url: str) -> None:
        try:
            self.fs, root = machine.file_system(url)
        except machine.Unusable as error:
            raise machine.Unusable(f"store {error} (SYNTHVLM_STORE or --store)") from error
        if url.lower().startswith(("http://", "https://")):
            raise machine.Unusable(f"store {url}: nothing can be written over http (SYNTHVLM_STORE or --store)")
        self.root: str = root.rstrip("/")
        self.local = isinstance(self.fs, LocalFileSystem)
        self._swept: set[Path] = set()

    def path(self, *parts: str) -> str:
        """Path below the root, as the file system wants it."""
        return "/".join((self.root, *parts))

    def url(self, *parts: str) -> str:
        """URL of a path below the root, for people and metadata."""
        return self.unstrip(self.path(*parts))

    def unstrip(self, path: str) -> str:
        """The URL of a path as the file system wants it."""
        return str(self.fs.unstrip_protocol(path))

    def at(self, path: str) -> contextlib.AbstractContextManager[None]:
        """Say of what is refused in the block that it is about a path of the store; see `machine.at`."""
        return machine.at(path if self.local else self.unstrip(path))

    def put(self, path: str, data: bytes) -> bool:
        """Create an object unless one is there. Returns whether this call created it."""
        with self.at(path):
            return self._put(path, data)

    def replace(self, path: str, data: bytes) -> None:
        """Put an object in place of whatever is there; readers see the old one or the new one, whole."""
        with self.at(path):
            if not self.local:
                self.fs.pipe_file(path, data)
                return
            with self._temporary(path, data) as temporary:
                if Path(path).is_dir():
                    self.set_aside(path)
                os.replace(temporary, path)
            _sync_folder(path)

    def get(self, path: str) -> bytes:
        """All bytes of an object.

        Raises:
            FileNotFoundError: if there is none.
            DamagedObject: if a folder stands in its place.
        """
        try:
            with self.at(path):
                return bytes(self.fs.cat_file(path))
        except NotADirectoryError as error:
            raise FileNotFoundError(path) from error
        except IsADirectoryError as error:
            raise DamagedObject(f"{self.unstrip(path)} is a folder where a file should be; move it away") from error

    def exists(self, path: str) -> bool:
        """Whether there is an object."""
        with self.at(path):
            return bool(self.fs.exists(path))

    def put_json(self, path: str, value: Any) -> None:
        """Replace an object by a JSON document, readable by people."""
        self.replace(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False).encode())

    def get_json(self, path: str, form: Any, remedy: str = "materialize again") -> Any:
        """A JSON document, None if there is none.

        Args:
            form: what it must be, as a rule a TypedDict of documents.py or of a stage; keys that it does not name stay.
            remedy: what to do about damage beside deleting the document.

        Raises:
            DamagedDocument: if it is something else, or a folder.
        """
        place = self.unstrip(path)
        try:
            data = self.get(path)
        except FileNotFoundError:
            return None
        except DamagedObject as damage:
            raise DamagedDocument(f"{damage} and {remedy}") from damage
        try:
            _adapter(form).validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            what = "not JSON" if first["type"] == "json_invalid" else f"not what it should be: {where}: {first['msg']}"
            raise DamagedDocument(f"{place}: {what}; delete it and {remedy}") from error
        return json.loads(data)  # as it is stored, where pydantic would make 1 of a float 1.0

    def files(self, folder: str, suffix: str) -> list[str]:
        """Names, sorted, of what lies directly in a folder and ends in `suffix`; empty if there is no folder.

        A folder of such a name stands where an object should be: whoever reads it is told.
        """
        try:
            with self.at(folder):
                entries = self.fs.ls(folder, detail=True)
        except FileNotFoundError:
            return []
        names = [entry["name"].rstrip("/").rsplit("/", 1)[-1] for entry in entries]
        return sorted(name for name in names if name.endswith(suffix))

    def remove(self, path: str) -> None:
        """Delete an object, if it is there."""
        with contextlib.suppress(FileNotFoundError), self.at(path):
            self.fs.rm_file(path)

    def set_aside(self, path: str) -> str:
        """Move a damaged object, or a folder in its place, into a `damaged` folder beside it, out of readers' sight.
        Returns its new path."""
        folder, name = path.rsplit("/", 1)
        target = f"{folder}/damaged/{name}"
        if self.local and Path(target).exists():
            target += f".{secrets.token_hex(4)}"
        with self.at(target):
            self.fs.makedirs(f"{folder}/damaged", exist_ok=True)
            with contextlib.suppress(FileNotFoundError):  # another run may have moved it already
                self.fs.mv(path, target, **({} if self.local else {"recursive": False}))
        return target

    def _put(self, path: str, data: bytes) -> bool:
        if self.local:
            with self._unnamed(path, data) as (source, at):
                try:
                    os.link(source, path, src_dir_fd=at)
                except FileExistsError:
                    return False
                except OSError as error:
                    if machine.refusal(error) and error.errno != errno.EPERM:  # as those say that know no links
                        raise
                    raise Mendable(
                        f"{path}: this file system has no hard links ({error}), which whole writes need; "
                        "put the store on another one"
                    ) from error
            _sync_folder(path)
            return True
        try:
            self.fs.pipe_file(path, data, mode="create")
        except OSError:  # servers spell "it is there already" differently; losing a race is no error
            with contextlib.suppress(Exception):  # asked for a head, a server gives no reason: the first error does
                if self.fs.exists(path):
                    return False
            raise
        return True

    @contextlib.contextmanager
    def _unnamed(self, path: str, data: bytes) -> Iterator[tuple[Path, int | None]]:
        """A synced file with these bytes that has no name, so that nothing is left of it whenever its writer dies; a
        temporary one where the file system knows none (NFS). As path and descriptor that `os.link` takes."""
        folder = self._folder_of(path)
        try:
            descriptor = os.open(folder, os.O_TMPFILE | os.O_WRONLY, 0o666)
        except (AttributeError, OSError):
            with self._temporary(path, data) as temporary:
                yield temporary, None
            return
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
            # a descriptor makes `os.link` follow the link that stands for the open file
            yield Path(f"/proc/self/fd/{descriptor}"), descriptor

    @contextlib.contextmanager
    def _temporary(self, path: str, data: bytes) -> Iterator[Path]:
        """A synced file with these bytes in the target's folder, gone afterwards.

        It is locked before there is a byte in it and as long as its writer lives.
        """
        folder = self._folder_of(path)
        temporary = folder / f".{secrets.token_hex(8)}.tmp"
        try:
            with temporary.open("xb") as file:
                with contextlib.suppress(OSError):  # of a file system without locks; there nobody sweeps either
                    fcntl.flock(file, fcntl.LOCK_EX)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
                yield temporary
        finally:
            temporary.unlink(missing_ok=True)

    def _folder_of(self, path: str) -> Path:
        """The folder of an object, made if need be. Whoever first writes into a folder removes what dead writers left
        there; object stores leave nothing."""
        folder = Path(path).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise DamagedObject(f"{error.filename} is a file where a folder should be; move it away") from error
        if folder not in self._swept:
            self._swept.add(folder)
            _sweep(folder)
        return folder


def _sweep(folder: Path) -> None:
    """Remove the temporary files of a folder whose writers live no more."""
    for path in folder.glob(".*.tmp"):
        # locked by its writer, removed by another sweeper, or another user's: all of them are left alone
        with contextlib.suppress(OSError), path.open("r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            found = os.fstat(file.fileno())
            if found.st_size or time.time() - found.st_mtime > LEFTOVER_SECONDS:
                path.unlink()


@functools.cache
def _adapter(form: Any) -> TypeAdapter[Any]:
    return TypeAdapter(form)


def _sync_folder(path: str) -> None:
    """Make a new directory entry durable."""
    descriptor = os.open(Path(path).parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
