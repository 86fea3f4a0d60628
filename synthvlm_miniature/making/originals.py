"""The original images of the LAION file, drawn, as far as they could still be had: img2dataset's output.

Belongs here: which rows' images are there, which are of something else, the two files. Does not belong here: drawing
(synthvlm_miniature.world.drawing), reading the layout (synthvlm_core).

    00000.tar       per original KEY.jpg, KEY.txt, KEY.json
    00000.parquet   img2dataset's record of every row, whether its image could be had or not

Links die: of about a quarter of the rows there is an image, and about one in six of these is another one than the
caption tells, as on the web. Bytes depend on the arguments and the pyarrow and Pillow versions alone.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from synthvlm_miniature.making.archives import add_to_tar, write_parquet
from synthvlm_miniature.making.rows import ROWS, SEED, SOURCES, SourceRow, source_rows
from synthvlm_miniature.making.source_files import url_of
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.scenes import Scene, sample_scene

RESOLUTION = 64
ALIVE = 0.25
"""Share of rows whose image can be had."""
RIGHT = 0.84
"""Share of these that show what the caption tells."""


@dataclass(frozen=True, slots=True)
class Original:
    """What became of a row's image. `scene` is what it shows, None where it is gone; `right`: what the row tells."""

    key: str
    row: SourceRow
    scene: Scene | None
    right: bool


def originals(seed: int = SEED, rows: int = ROWS) -> Iterator[Original]:
    """The rows of the LAION file in order, each with what became of its image."""
    for row in source_rows("laion", seed, rows):
        rng = np.random.default_rng([seed, len(SOURCES), row.number])
        alive = row.scene is not None and bool(rng.random() < ALIVE)
        right = alive and bool(rng.random() < RIGHT)
        shown = (row.scene if right else _foreign_scene(row.scene, rng)) if alive and row.scene is not None else None
        yield Original(f"{row.number:09d}", row, shown, right)


def write(folder: Path, seed: int = SEED, rows: int = ROWS) -> list[Path]:
    """Write the originals in img2dataset's layout: 00000.tar and 00000.parquet in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for original in originals(seed, rows):
            image = None if original.scene is None else jpeg(original.scene)
            record = _record(original, image)
            records.append(record)
            if image is not None:
                add_to_tar(archive, f"{original.key}.jpg", image)
                add_to_tar(archive, f"{original.key}.txt", record["caption"].encode())
                add_to_tar(archive, f"{original.key}.json", json.dumps(record).encode())
    schema = pa.schema(
        [(name, pa.int32() if "width" in name or "height" in name else pa.string()) for name in records[0]]
    )
    write_parquet(pa.Table.from_pylist(records, schema=schema), folder / "00000.parquet")
    return [folder / "00000.tar", folder / "00000.parquet"]


def _record(original: Original, image: bytes | None) -> dict[str, Any]:
    """What img2dataset notes of a row."""
    side = None if image is None else RESOLUTION
    return {
        "url": url_of("laion", original.row),
        "caption": original.row.text,
        "key": original.key,
        "status": "failed_to_download" if image is None else "success",
        "error_message": "HTTP Error 404: Not Found" if image is None else None,
        "width": side,
        "height": side,
        "original_width": side,
        "original_height": side,
        "exif": None if image is None else "{}",
        "sha256": None if image is None else hashlib.sha256(image).hexdigest(),
    }


def jpeg(scene: Scene) -> bytes:
    """A scene as it is stored."""
    buffer = io.BytesIO()
    draw(scene, RESOLUTION).save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def _foreign_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that shares no colour with the given one and has another background."""
    colours = {thing.colour for thing in scene.things}
    while True:
        other = sample_scene(rng)
        if other.background != scene.background and colours.isdisjoint(thing.colour for thing in other.things):
            return other
