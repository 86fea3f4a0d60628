"""The Parquet files as a user of `datasets` meets them, and how a set is cut into files."""

import hashlib
import io
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.recipe import Recipe
from synthvlm_core.release import checks, huggingface, stage
from synthvlm_core.store import Store

from .conftest import folder_of

LOAD = """
import hashlib, json, sys
import datasets, PIL.Image

found = datasets.load_dataset(sys.argv[1])
[split] = found
bytes_of = [row["bytes"] for row in found[split].cast_column("image", datasets.Image(decode=False))["image"]]
print(json.dumps({
    "split": split,
    "columns": found[split].column_names,
    "pictures": [isinstance(row["image"], PIL.Image.Image) and [*row["image"].size] for row in found[split]],
    "rows": [[row["rank"], row["image_id"], row["text"], row["clip_score"]] for row in found[split]],
    "bytes": [hashlib.sha256(data).hexdigest() for data in bytes_of],
}))
"""


def test_datasets_loads_the_folder_as_pictures(released: Store, recipe: Recipe, tmp_path: Path) -> None:
    """In a process of its own, as `datasets` reads where its caches are and whether it is offline once."""
    caches = {"HF_HOME": str(tmp_path / "hf"), "HF_DATASETS_CACHE": str(tmp_path / "hf" / "datasets")}
    found = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder_of(released, recipe))],
        env={**os.environ, "HF_HUB_OFFLINE": "1", **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    told = json.loads(found.stdout)
    rows = [row for part in stage.rows(released, stage.manifest(released, recipe)) for row in part.to_pylist()]
    assert told == {
        "split": "train",
        "columns": [
            "rank",
            "image_id",
            "caption_id",
            "source",
            "text",
            "clip_score",
            "ssim",
            "weighted_score",
            "image",
        ],
        "pictures": [[64, 64]] * 4,
        "rows": [[row["rank"], row["image_id"], row["text"], row["clip_score"]] for row in rows],
        "bytes": [hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in rows],
    }


@pytest.mark.parametrize("limit", ["rows", "bytes"])
def test_a_large_set_is_cut_into_numbered_files(
    scored: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    whole = stage.publish(scored, recipe)
    pictures = [row["image"]["bytes"] for part in stage.rows(scored, whole) for row in part.to_pylist()]
    if limit == "rows":
        monkeypatch.setattr(huggingface, "ROWS_PER_FILE", 3)
    else:
        monkeypatch.setattr(huggingface, "FILE_BYTES", math.ceil(sum(map(len, pictures)) * 3 / 4))
    monkeypatch.setattr(stage, "BATCH_ROWS", 2)  # files are not cut where batches end
    shutil.rmtree(folder_of(scored, recipe))

    cut = stage.publish(scored, recipe)
    assert [(file["name"], file["rows"]) for file in cut["parquet"]] == [
        ("train-00000-of-00002.parquet", 3),
        ("train-00001-of-00002.parquet", 1),
    ]
    assert cut["content_hash"] == whole["content_hash"]
    assert [row["image"]["bytes"] for part in stage.rows(scored, cut) for row in part.to_pylist()] == pictures
    assert checks.set_is_whole(scored, recipe).passed
    assert checks.formats_agree(scored, recipe).passed


@given(rows=st.integers(1, 10**7), mean=st.integers(1, 10**9))
def test_files_are_bounded_in_rows_and_bytes(rows: int, mean: int) -> None:
    each = huggingface.rows_per_file(rows, rows * mean)
    assert 1 <= each <= huggingface.ROWS_PER_FILE
    assert each == 1 or each * mean <= huggingface.FILE_BYTES


def test_a_reader_of_one_picture_unpacks_few(released: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface, "ROWS_PER_GROUP", 3)
    [part] = stage.rows(released, stage.manifest(released, recipe))
    file = pq.ParquetFile(io.BytesIO(huggingface.encode(part)))
    assert [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] == [3, 1]
