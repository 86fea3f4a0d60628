import json
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from synthvlm_miniature.making import instructions
from synthvlm_miniature.world.held_out import HeldOutSplit, held_out_scenes
from synthvlm_miniature.world.scenes import sample_scene


def test_the_mix_is_llavas_form_with_exact_pictures(tmp_path: Path) -> None:
    path, archive_path = instructions.write(tmp_path, n=64)
    found = json.loads(path.read_text())
    assert len(found) == 64
    assert sum("image" not in row for row in found) == 4
    drawn = [picture for _, picture in instructions.rows(64) if picture is not None]
    with zipfile.ZipFile(archive_path) as archive:
        assert archive.namelist() == [row["image"] for row in found if "image" in row]
        for name, picture in zip(archive.namelist(), drawn, strict=True):
            assert Image.open(BytesIO(archive.read(name))).convert("RGB").tobytes() == picture.tobytes()
    for row in found:
        said = [turn["from"] for turn in row["conversations"]]
        assert said == ["human", "gpt"] * (len(said) // 2)
        assert 1 <= len(said) // 2 <= instructions.TURNS
        markers = "".join(turn["value"] for turn in row["conversations"]).count("<image>")
        assert markers == ("image" in row)


def test_nothing_here_describes_a_benchmark_scene() -> None:
    splits: tuple[HeldOutSplit, ...] = ("test", "held_out")
    held_out = {scene.description for split in splits for scene in held_out_scenes(400, split)}
    for number in range(300):
        scene = sample_scene(np.random.default_rng([instructions.SEED, number]))
        assert scene.description not in held_out
