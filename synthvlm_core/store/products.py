"""Products: sealed sets of files with their hashes, such as releases, checkpoints and evaluations.

Belongs here: putting files, sealing them with a manifest, proving them, adding to them. Does not belong here: what the
files are (release, training, evaluation).

A folder without a manifest is unfinished and nobody reads it. The manifest names every file with size and SHA-256, as
read back from the store.
"""

import contextlib
import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from synthvlm_core import hashing
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import Unusable
from synthvlm_core.store import temporary
from synthvlm_core.store.documents import Files
from synthvlm_core.store.objects import DamagedObject, Store
from synthvlm_core.store.shards import MANIFEST

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Small files proved at once: on a bucket each is a round trip."""
SMALL = 4_000_000
"""Bytes; larger files are proved one by one, for the sake of memory."""


class DamagedProduct(Mendable):
    """A file of a product that is gone or has other bytes than its manifest says; the message names file and remedy."""


@dataclass
class Product:
    """A folder of the store that becomes, or is, a sealed set of files."""

    store: Store
    path: str
    remedy: str = "materialize it again"
    """What to do about damage, for messages."""
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By name: size and SHA-256 of what was put."""

    def put(self, name: str, data: bytes) -> None:
        """Store a file whole, in place of what an unfinished try left, and read it back."""
        path = f"{self.path}/{name}"
        if not self.store.put(path, data) and self._stored(path) != data:
            self.store.replace(path, data)
        self.files[name] = proof(self.store.get(path))

    def _stored(self, path: str) -> bytes | None:
        """What lies at a path, None if it is no file."""
        try:
            return self.store.get(path)
        except (FileNotFoundError, DamagedObject):
            return None

    def put_folder(self, folder: Path) -> None:
        """Store every file below a local folder."""
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(file.relative_to(folder).as_posix(), file.read_bytes())

    def names(self, folder: str = "") -> list[str]:
        """Names, sorted, of the files that the manifest names in a folder below, or of all."""
        return sorted(name for name in self.files if not folder or name.startswith(f"{folder}/"))

    def forget(self, folder: str) -> list[str]:
        """Name no file in a folder below any longer. Returns their names."""
        names = self.names(folder)
        for name in names:
            del self.files[name]
        return names

    def remove(self, names: Iterable[str]) -> None:
        """Delete files that were named before, as far as they are there and are not named again."""
        for name in names:
            if name not in self.files:
                self.store.remove(f"{self.path}/{name}")

    def seal(self, values: dict[str, Any]) -> dict[str, Any]:
        """Write the manifest, last, unless it is there: the JSON values and `files`. Returns it."""
        files = [{"name": name, **self.files[name]} for name in self.names()]
        manifest = {**values, "files": files}
        path = f"{self.path}/{MANIFEST}"
        try:
            unchanged = self.store.get_json(path, Files) == manifest
        except DamagedObject:  # it is mended
            unchanged = False
        if not unchanged:
            self.store.put_json(path, manifest)
        return manifest

    def manifest(self, form: Any = Files) -> dict[str, Any] | None:
        """The manifest of a complete product, else None.

        Args:
            form: of the manifest; it has at least what `Files` has.

        Raises:
            DamagedDocument: if there is something else in its place.
        """
        found: dict[str, Any] | None = self.store.get_json(f"{self.path}/{MANIFEST}", form, f"then {self.remedy}")
        if found is not None:
            self.take(found)
        return found

    def take(self, manifest: dict[str, Any]) -> None:
        """Be the product of a manifest that was read before."""
        self.files = {file["name"]: {"size": file["size"], "sha256": file["sha256"]} for file in manifest["files"]}

    def sound(self, form: Any = Files) -> dict[str, Any] | None:
        """The manifest of a complete, undamaged product, else None: damage is named in the log."""
        try:
            found = self.manifest(form)
            wrong = [] if found is None else self.damage()
        except Unusable:
            raise
        except Mendable as error:
            found, wrong = None, [str(error)]
        if wrong:
            log.warning("%s: %s; it will be made again", self.store.unstrip(self.path), "; ".join(wrong))
            return None
        return found

    def damage(self, folder: str = "") -> list[str]:
        """What is wrong with the files of a complete product, or with those in a folder below: missing, or other bytes
        than the manifest's."""
        names = self.names(folder)
        small = [name for name in names if self.files[name]["size"] <= SMALL]
        large = [name for name in names if self.files[name]["size"] > SMALL]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = [*pool.map(self._wrong, small), *map(self._wrong, large)]
        return [damage for damage in found if damage]

    def _wrong(self, name: str) -> str:
        try:
            self.get(name)
        except DamagedProduct as damage:
            return str(damage)
        return ""

    def foreign(self, besides: Sequence[str] = ()) -> list[str]:
        """Files in the folder that the manifest does not name: nobody reads them here, but whoever opens the folder
        with another tool may.

        Args:
            besides: names that may be there as well; one that ends in a slash is a folder.
        """
        root = f"{self.path}/"
        with self.store.at(self.path):
            found = [str(path).removeprefix(root) for path in self.store.fs.find(self.path)]
        known = tuple(name for name in besides if name.endswith("/"))
        surplus = [
            name
            for name in found
            if name not in self.files
            and name not in besides
            and not name.startswith((*known, "damaged/"))
            and not (name.rpartition("/")[2].startswith(".") and name.endswith(".tmp"))
        ]
        return [
            f"{self.store.unstrip(root + name)} is not among the files of the manifest; delete it"
            for name in sorted(surplus)
        ]

    def get(self, name: str) -> bytes:
        """The bytes of a file that the manifest names, proved.

        Raises:
            DamagedProduct: if the manifest does not name it, it is gone or has other bytes.
        """
        where = self.store.unstrip(f"{self.path}/{name}")
        if name not in self.files:
            raise DamagedProduct(f"{where} is not among the files of the manifest; {self.remedy}")
        try:
            data = self.store.get(f"{self.path}/{name}")
        except FileNotFoundError:
            raise DamagedProduct(f"{where} is missing; {self.remedy}") from None
        except DamagedObject as damage:
            raise DamagedProduct(f"{where} is a folder; {self.remedy}") from damage
        if proof(data) != self.files[name]:
            raise DamagedProduct(f"{where} has other bytes than the manifest says; {self.remedy}")
        return data

    def content_hash(self) -> str:
        """Hash over the names and bytes of all files."""
        return hashing.of_json([[name, self.files[name]["sha256"]] for name in sorted(self.files)])

    @contextlib.contextmanager
    def local_folder(self, folder: str = "") -> Iterator[Path]:
        """A local folder with the proved files that the manifest names, all or those in a folder below, and no others;
        gone afterwards. Of a local store they are links, of a bucket copies on this machine's disk.

        Raises:
            DamagedProduct: as `get`.
        """
        with temporary.folder("product") as local:
            for name in self.names(folder):
                target = Path(local, name)
                target.parent.mkdir(parents=True, exist_ok=True)
                data = self.get(name)
                if self.store.local:
                    target.symlink_to(Path(self.path, name).resolve())
                else:
                    target.write_bytes(data)
            yield local


def proof(data: bytes) -> dict[str, Any]:
    """Size and SHA-256 of some bytes."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}
