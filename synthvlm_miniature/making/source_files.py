"""The four caption files in the formats they are published in: LAION, CC, SBU and DataComp.

Belongs here: columns, separators and the values beside the text. Does not belong here: the texts (rows.py), the readers
of these formats (synthvlm_core.captions).

    laion/part-00000.parquet          cc/train.tsv
    sbu/sbu-captions-all.json         datacomp/metadata.parquet, datacomp/blip2_captions.parquet

Bytes depend on the arguments and the pyarrow version alone.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from synthvlm_miniature.making.archives import write_parquet
from synthvlm_miniature.making.rows import ROWS, SEED, SOURCES, Source, SourceRow, source_rows
from synthvlm_miniature.world.vague import vague_caption


def write(folder: Path, seed: int = SEED, rows: int = ROWS) -> list[Path]:
    """Write the four sources under `folder` (laion/, cc/, sbu/, datacomp/) and return the files' paths."""
    writers = {"laion": _write_laion, "cc": _write_cc, "sbu": _write_sbu, "datacomp": _write_datacomp}
    paths: list[Path] = []
    for source in SOURCES:
        (folder / source).mkdir(parents=True, exist_ok=True)
        paths += writers[source](folder / source, list(source_rows(source, seed, rows)), seed)
    return paths


def _as_text(row: SourceRow) -> str:
    assert isinstance(row.text, str)
    return row.text


def url_of(source: Source, row: SourceRow) -> str:
    """Where a row says that its image is."""
    return f"https://example.com/{source}/{row.number:06d}.jpg"


def _noise(seed: int, row: SourceRow) -> np.random.Generator:
    """Numbers for the columns that are not text."""
    return np.random.default_rng([seed, 7, row.number])


def _write_laion(folder: Path, rows: list[SourceRow], seed: int) -> list[Path]:
    noise = [_noise(seed, row) for row in rows]
    table = pa.table(
        {
            "SAMPLE_ID": pa.array([1_000_000 + row.number for row in rows], pa.int64()),
            "URL": pa.array([url_of("laion", row) for row in rows], pa.string()),
            "TEXT": pa.array([_as_text(row) for row in rows], pa.string()),
            "HEIGHT": pa.array([int(rng.integers(256, 1200)) for rng in noise], pa.int32()),
            "WIDTH": pa.array([int(rng.integers(256, 1600)) for rng in noise], pa.int32()),
            "LICENSE": pa.array(["?"] * len(rows), pa.string()),
            "NSFW": pa.array(["UNLIKELY" if rng.random() < 0.97 else "UNSURE" for rng in noise], pa.string()),
            "similarity": pa.array([0.3 + 0.15 * float(rng.random()) for rng in noise], pa.float64()),
        }
    )
    path = folder / "part-00000.parquet"
    write_parquet(table, path)
    return [path]


def _write_cc(folder: Path, rows: list[SourceRow], seed: int) -> list[Path]:
    lines = []
    for row in rows:
        caption = row.text if isinstance(row.text, bytes) else row.text.encode()
        url = url_of("cc", row).encode()
        if row.truth == "columns":
            lines.append(caption if row.number % 2 else caption + b"\t" + url + b"\textra")
        else:
            lines.append(caption + b"\t" + url)
    path = folder / "train.tsv"
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return [path]


def _write_sbu(folder: Path, rows: list[SourceRow], seed: int) -> list[Path]:
    content = {
        "image_urls": [url_of("sbu", row) for row in rows],
        "user_ids": [f"{int(_noise(seed, row).integers(10**7, 10**8))}@N0{row.number % 8}" for row in rows],
        "captions": [_as_text(row) for row in rows],
    }
    path = folder / "sbu-captions-all.json"
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return [path]


def _write_datacomp(folder: Path, rows: list[SourceRow], seed: int) -> list[Path]:
    """Metadata with the web's alt text, and the machine captions of the same images keyed by uid."""
    noise = [_noise(seed, row) for row in rows]
    uids = [hashlib.md5(url_of("datacomp", row).encode(), usedforsecurity=False).hexdigest() for row in rows]
    faces = pa.list_(pa.list_(pa.float64()))
    metadata = pa.table(
        {
            "uid": pa.array(uids, pa.string()),
            "url": pa.array([url_of("datacomp", row) for row in rows], pa.string()),
            "text": pa.array([vague_caption(rng) for rng in noise], pa.string()),
            "original_width": pa.array([int(rng.integers(256, 1600)) for rng in noise], pa.int64()),
            "original_height": pa.array([int(rng.integers(256, 1200)) for rng in noise], pa.int64()),
            "clip_b32_similarity_score": pa.array([0.2 + 0.2 * float(rng.random()) for rng in noise], pa.float32()),
            "clip_l14_similarity_score": pa.array([0.2 + 0.2 * float(rng.random()) for rng in noise], pa.float32()),
            "face_bboxes": pa.array([[] for _ in rows], faces),
            "sha256": pa.array([hashlib.sha256(uid.encode()).hexdigest() for uid in uids], pa.string()),
        }
    )
    captions = pa.table(
        {
            "uid": pa.array(uids, pa.string()),
            "caption": pa.array([_as_text(row) for row in rows], pa.string()),
        }
    )
    paths = [folder / "metadata.parquet", folder / "blip2_captions.parquet"]
    write_parquet(metadata, paths[0])
    write_parquet(captions, paths[1])
    return paths
