"""A set of the paper's kind of pictures is released in memory that does not grow with it."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from harness import GENERATORS, PAINTER, Painter, filter_captions, registered
from PIL import Image

from synthvlm_core.images import drawing, encoding
from synthvlm_core.images.synthetic import SyntheticImages, image_id
from synthvlm_core.parts.generator import seed_of
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store
from synthvlm_core.store.records import SYNTHETIC_IMAGES

from .conftest import Edit

PICTURES = 5_000
SIDE = 520
"""Noise of this side takes some 600 KB as JPEG."""

RELEASE = """
import json, pathlib, re, sys
from harness import GENERATORS, Painter, registered
from synthvlm_core.recipe import loading
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store
with registered(GENERATORS, Painter):
    recipe = loading.loads(open(sys.argv[2]).read())
    made = Synthvlm100k(Store(sys.argv[1]), recipe, "synthvlm").make()
    # not getrusage: its highest is that of the process that started this one
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1]) * 1024
    print(json.dumps({"rows": made["rows"], "bytes": made["picture_bytes"], "peak": peak}))
"""


def draw(store: Store, recipe: Recipe) -> None:
    """Put pictures of noise where the generator would have put its own."""
    stage = SyntheticImages(store, recipe, "laion")
    rng = np.random.default_rng(0)
    captions = sorted(
        (row for part in stage.captions.kept() for row in part.to_pylist()), key=lambda r: r["caption_id"]
    )
    for start in range(0, len(captions), drawing.SHARD_ROWS):
        rows = []
        for caption in captions[start : start + drawing.SHARD_ROWS]:
            buffer = io.BytesIO()
            noise = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            Image.fromarray(noise).save(buffer, "JPEG", quality=95, subsampling="4:4:4")
            data, name = buffer.getvalue(), caption["caption_id"]
            rows.append(
                {
                    "image_id": image_id(name, 0, 0, stage.definition),
                    "caption_id": name,
                    "source": "laion",
                    "text": caption["text"],
                    "k": 0,
                    "attempt": 0,
                    "seed": seed_of(recipe.seed, name, 0, 0),
                    "image": {"bytes": data, "path": encoding.file_name(data, "jpeg")},
                    "width": SIDE,
                    "height": SIDE,
                    "prompt_tokens": 5,
                    "prompt_truncated": False,
                    "health": "ok",
                }
            )
        stage.folder.put(pa.Table.from_pylist(rows, SYNTHETIC_IMAGES.schema), row_group_size=drawing.ROW_GROUP_ROWS)
    stage.make()


@pytest.mark.outside
def test_five_thousand_large_pictures_pass_in_flat_memory(tmp_path: Path, edited: Edit) -> None:
    """Three gigabytes of pictures, three formats: what memory a release takes is that of its largest file."""
    scenes = [f"picture number {number} of a set that is as large as it must be" for number in range(PICTURES)]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in scenes))
    with registered(GENERATORS, Painter):
        recipe = edited(
            loading.load("miniature"),
            {
                "folder": str(tmp_path),
                "sources": [{"name": "laion", "format": "jsonl", "files": ["mine.jsonl"], "columns": {"text": "text"}}],
                "captions.rules": [],
                "generator": {
                    **PAINTER,
                    "width": SIDE,
                    "height": SIDE,
                    "images_per_caption": 1,
                    "encoding": {"format": "jpeg", "quality": 95},
                },
                "scores": [{"score": "colourfulness"}],
                "selection": {"size": PICTURES, "weights": {"colourfulness": 1.0}, "sets": [{"name": "synthvlm"}]},
                "release.formats": ["huggingface", "llava", "webdataset"],
                "training.variants.random-mini": None,
            },
        )
        store = Store(str(tmp_path / "store"))
        filter_captions(store, recipe)
        draw(store, recipe)
        ScoredPairs(store, recipe, "laion").make()
        (tmp_path / "recipe.json").write_text(loading.dumps(recipe))
    ended = subprocess.run(
        [sys.executable, "-c", RELEASE, store.root, str(tmp_path / "recipe.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(ended.stdout.splitlines()[-1])
    print(told)
    assert told["rows"] == PICTURES
    assert told["bytes"] > PICTURES * 500_000
    assert told["peak"] < 2_000_000_000, "a file of 200 MB lies in memory a few times, three gigabytes do not"
