"""Small sets of real rows, and the files that a format makes of them."""

import hashlib
import io
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from synthvlm_core.parts.format import Format, SetContext
from synthvlm_core.store import records
from synthvlm_core.store.records import Column

SCORES = [Column("clip_score", pa.float64(), "cosine"), Column("ssim", pa.float64(), "similarity")]
TABLE = records.synthvlm_100k(SCORES)
INSTRUCTIONS = ("Describe the picture.", "What does <image> show?")

Files = dict[str, bytes]
Write = Callable[..., Files]


def rows_of(texts: Sequence[str], *, format: str = "PNG", extension: str = "png") -> pa.Table:
    """A set with a caption each, pictures of 8 x 8 pixels."""
    rows = []
    for number, text in enumerate(texts):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, format=format)
        data = buffer.getvalue()
        name = hashlib.sha256(data).hexdigest()
        rows.append(
            {
                "rank": number + 1,
                "image_id": name[:32],
                "caption_id": name[32:],
                "source": "laion",
                "text": text,
                "clip_score": 1 / (number + 3),
                "ssim": 0.9,
                "weighted_score": 1 / (number + 3) + 0.45,
                "image": {"bytes": data, "path": f"{name}.{extension}"},
                "k": 0,
                "attempt": 1,
                "seed": 2**63 - 1 - number,
                "definition": "d" * 32,
            }
        )
    return pa.Table.from_pylist(rows, TABLE.schema)


def context_of(rows: pa.Table, *, extension: str = "png") -> SetContext:
    """What a format may know of a set."""
    size = sum(len(image["bytes"]) for image in rows["image"].to_pylist())
    return SetContext(TABLE, rows.num_rows, size, extension, INSTRUCTIONS, 0)


@pytest.fixture(scope="session")
def write() -> Write:
    """write(format, rows) gives the format's files by name; `batch` is how many rows it is given at once."""

    def files_of(form: Format, rows: pa.Table, *, batch: int = 3, extension: str = "png") -> Files:
        files: Files = {}
        writer = form.writer(files.__setitem__, context_of(rows, extension=extension))
        for start in range(0, rows.num_rows, batch):
            writer.add(rows.slice(start, batch))
        writer.close()
        return files

    return files_of
