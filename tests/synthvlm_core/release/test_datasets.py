"""A release as a user of Hugging Face's `datasets` meets it."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.formats import huggingface
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store

from .conftest import SET, folder_of, rows_of

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
    "rows": [[row["rank"], row["image_id"], row["text"], row["clip_score"], row["seed"]] for row in found[split]],
    "bytes": [hashlib.sha256(data).hexdigest() for data in bytes_of],
}))
"""


def load(folder: Path, caches: Path) -> dict:
    """What `datasets` finds, in a process of its own: it reads once where its caches are and whether it is offline."""
    environment = {"HF_HOME": str(caches), "HF_DATASETS_CACHE": str(caches / "datasets"), "HF_HUB_OFFLINE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", LOAD, str(folder)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


def test_datasets_loads_the_folder_as_pictures(
    scored: Store, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The card names the files, so that one that is not the release's is not loaded."""
    monkeypatch.setattr(huggingface, "ROWS_PER_FILE", 3)
    stage = Synthvlm100k(scored, recipe, SET)
    stage.make()
    folder = folder_of(scored, recipe)
    shutil.copy(folder / "data" / "train-00000-of-00002.parquet", folder / "data" / "train-extra.parquet")
    rows = rows_of(scored, recipe)
    assert load(folder, tmp_path / "hf") == {
        "split": "train",
        "columns": stage.table.names,
        "pictures": [[64, 64]] * 4,
        "rows": [[row[name] for name in ("rank", "image_id", "text", "clip_score", "seed")] for row in rows],
        "bytes": [hashlib.sha256(row["image"]["bytes"]).hexdigest() for row in rows],
    }
