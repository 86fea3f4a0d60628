"""Pictures that lie beside a file whose rows name them: in an archive, or in a folder.

Belongs here: finding and bounding them, and errors that say where a bad one stands. Does not belong here: decoding
(decoding.py), the rows that name them (instructions.py, evaluation/benchmarks/questions.py).
"""

import zipfile
import zlib
from pathlib import Path, PurePosixPath
from typing import Any

from PIL import Image

from synthvlm_core import lfs
from synthvlm_core.decoding import FORMATS, UndecodableImage, decode
from synthvlm_core.errors import Mendable
from synthvlm_core.training.data.rows import DataError

MAX_BYTES = 64_000_000
"""Of one encoded picture."""
FURTHER_FORMATS = ("GIF", "BMP")
"""Beside those of our own pictures: public instruction mixes have a few."""


class Pictures:
    """Encoded pictures by name: the members of a zip archive where there is one, else the files below a folder.

    Raises:
        DataError: if the archive is none.
    """

    def __init__(self, archive: Path, folder: Path) -> None:
        self._folder = folder
        if (pointer := lfs.told([archive])) is not None:
            raise DataError(pointer)
        try:
            self._archive = zipfile.ZipFile(archive) if archive.is_file() else None
        except (zipfile.BadZipFile, OSError) as error:
            raise DataError(f"{archive}: no readable zip archive ({error}); make it again") from error
        self._names = frozenset(self._archive.namelist()) if self._archive else frozenset()
        self.place = str(archive if self._archive else folder)

    def __contains__(self, name: str) -> bool:
        try:
            return name in self._names if self._archive else (self._folder / name).is_file()
        except (OSError, ValueError):  # a name that no file can have
            return False

    def state(self, name: str) -> list[int]:
        """Size and checksum of a picture in an archive, size and time of change of one in a folder.

        Raises:
            DataError: if there is none.
        """
        try:
            if self._archive:
                member = self._archive.getinfo(name)
                return [member.file_size, member.CRC]
            found = (self._folder / name).stat()
        except (KeyError, FileNotFoundError):
            raise DataError(f"no picture {name[:200]!r} in {self.place}; add it") from None
        return [found.st_size, found.st_mtime_ns]

    def read(self, name: str, place: str) -> bytes:
        """The encoded picture of that name.

        Args:
            place: the row that names it, for messages.

        Raises:
            DataError: if there is none, it is too large or cannot be read.
        """
        try:
            size = self._archive.getinfo(name).file_size if self._archive else (self._folder / name).stat().st_size
            if size > MAX_BYTES:
                raise DataError(f"{place}: picture {name!r} is larger than {MAX_BYTES:,} bytes; shrink it")
            return self._archive.read(name) if self._archive else (self._folder / name).read_bytes()
        except (KeyError, FileNotFoundError):
            raise DataError(f"{place}: no picture {name[:200]!r} in {self.place}; add it or remove the row") from None
        except (OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{place}: picture {name[:200]!r} cannot be read ({error}); replace it") from error

    def open(self, name: str, place: str) -> Image.Image:
        """The picture of that name as RGB. Raises DataError as `read`, and if it cannot be decoded."""
        return decoded(self.read(name, place), place)


def decoded(data: bytes, place: str) -> Image.Image:
    """An encoded picture as RGB. Raises DataError naming `place` if it is none."""
    if data.startswith(lfs.MARK):
        raise DataError(f"{place}: the picture {lfs.WHAT}; fetch it: {lfs.REMEDY}")
    try:
        return decode(data, formats=(*FORMATS, *FURTHER_FORMATS))
    except UndecodableImage as error:
        raise DataError(f"{place}: the picture cannot be read ({error}); replace it or remove the row") from error


def stays_inside(name: Any) -> bool:
    """Whether a name is a relative path that leads nowhere but below its folder."""
    if not isinstance(name, str) or not name or "\\" in name or "\0" in name or "://" in name:
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def local_file(path: str, key: str, what: str) -> Path:
    """A file that a recipe names, which must lie on this machine.

    Args:
        path: absolute path or URL, as `parts.locations.locate` gives it.
        key: the recipe's key, and `what` the file should be, for messages.

    Raises:
        Mendable: if it is a URL, not there or a pointer of Git LFS.
    """
    if "://" in path:
        raise Mendable(f"{key}: {path} is a URL; copy the file to this machine and name its path")
    if not Path(path).is_file():
        raise Mendable(f"{key}: no file {path}; give {what}")
    if (pointer := lfs.told([Path(path)])) is not None:
        raise Mendable(f"{key}: {pointer}")
    return Path(path)
