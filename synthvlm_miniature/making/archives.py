"""Files whose bytes depend on their content alone: Parquet, members of tar and zip archives, PNG.

Belongs here: fixed times, owners and compression. Does not belong here: what is written.
"""

import io
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time a zip archive can hold: none, in effect."""


def write_parquet(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet."""
    pq.write_table(table, path, compression="zstd", row_group_size=512)


def add_to_tar(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add one file with a fixed time, owner and mode."""
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def add_to_zip(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add one file with a fixed time, uncompressed: pictures are compressed already."""
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), content, zipfile.ZIP_STORED)


def png(picture: Image.Image) -> bytes:
    """The picture as PNG: with a palette where its colours fit into one, which changes no pixel and halves the size."""
    colours: Any = picture.getcolors(256)
    if colours is not None:
        palette = [channel for _, colour in sorted(colours) for channel in colour]
        holder = Image.new("P", (1, 1))
        holder.putpalette(palette)
        exact = picture.quantize(palette=holder, dither=Image.Dither.NONE)
        if exact.convert("RGB").tobytes() == picture.tobytes():
            picture = exact
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
