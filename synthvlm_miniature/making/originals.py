"""Drawn originals: pictures with captions of which about a third is wrong, in img2dataset's layout.

Belongs here: which scenes are drawn, which captions they get, the two files. Does not belong here: drawing
(synthvlm_miniature.world.drawing), reading the layout (synthvlm_core).

    00000.tar       per original KEY.jpg, KEY.txt, KEY.json
    00000.parquet   img2dataset's record of each, with the URL that a caption file would name

Bytes depend on the arguments and the pyarrow and Pillow versions alone.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthvlm_miniature.making.archives import add_to_tar, write_parquet
from synthvlm_miniature.making.rows import SEED, SOURCES
from synthvlm_miniature.world.captions import STYLES, Style, caption
from synthvlm_miniature.world.drawing import draw
from synthvlm_miniature.world.scenes import Scene, sample_scene

ORIGINALS = 96
RESOLUTION = 64


@dataclass(frozen=True, slots=True)
class OriginalRow:
    """One drawn original: `caption` describes `scene` where `right`, else a scene of other colours."""

    key: str
    scene: Scene
    caption: str
    right: bool


def original_rows(seed: int = SEED, n: int = ORIGINALS) -> Iterator[OriginalRow]:
    """The drawn originals in order; about two in three captions are right."""
    for number in range(n):
        rng = np.random.default_rng([seed, len(SOURCES), number])
        scene = sample_scene(rng)
        right = bool(rng.random() < 0.67)
        told = scene if right else _foreign_scene(scene, rng)
        yield OriginalRow(f"{number:09d}", scene, caption(told, rng, _style(rng)), right)


def write(folder: Path, seed: int = SEED, n: int = ORIGINALS) -> list[Path]:
    """Write drawn originals in img2dataset's layout: 00000.tar and 00000.parquet in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    records = []
    with tarfile.open(folder / "00000.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for row in original_rows(seed, n):
            buffer = io.BytesIO()
            draw(row.scene, RESOLUTION).save(buffer, "JPEG", quality=92)
            image = buffer.getvalue()
            record = {
                "url": f"https://example.com/originals/{row.key}.jpg",
                "caption": row.caption,
                "key": row.key,
                "status": "success",
                "error_message": None,
                "width": RESOLUTION,
                "height": RESOLUTION,
                "original_width": RESOLUTION,
                "original_height": RESOLUTION,
                "exif": "{}",
                "sha256": hashlib.sha256(image).hexdigest(),
            }
            records.append(record)
            add_to_tar(archive, f"{row.key}.jpg", image)
            add_to_tar(archive, f"{row.key}.txt", row.caption.encode())
            add_to_tar(archive, f"{row.key}.json", json.dumps(record).encode())
    schema = pa.schema(
        [(name, pa.int32() if "width" in name or "height" in name else pa.string()) for name in records[0]]
    )
    table = pa.Table.from_pylist(records, schema=schema)
    write_parquet(table, folder / "00000.parquet")
    return [folder / "00000.tar", folder / "00000.parquet"]


def _style(rng: np.random.Generator) -> Style:
    return STYLES[1 + int(rng.integers(len(STYLES) - 1))]


def _foreign_scene(scene: Scene, rng: np.random.Generator) -> Scene:
    """A scene that shares no colour with the given one and has another background."""
    colours = {thing.colour for thing in scene.things}
    while True:
        other = sample_scene(rng)
        if other.background != scene.background and colours.isdisjoint(thing.colour for thing in other.things):
            return other
