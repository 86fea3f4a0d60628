"""The parts of the table that CLIP fills, on few scenes."""

from pathlib import Path

from synthvlm_miniature.quality import choosing, patches
from synthvlm_miniature.quality.clip import on_drawings
from synthvlm_miniature.quality.embedding import Clip


def test_retrieval_cosines_and_wins(models: Path) -> None:
    rows = {name: value for name, value, _ in on_drawings(Clip(models / "clip"), 64, "test")}
    assert rows["CLIP test image to text, top-1 of 64"] > 0.95
    assert rows["CLIP test cosine, matched"] > rows["CLIP test cosine, swapped"] + 0.5
    assert rows["CLIP test notices a wrong colour"] > 0.95


def test_a_linear_map_reads_lone_things_off_patches(models: Path) -> None:
    rows = {name: value for name, value, _ in patches.rows(models / "clip-vision", 64)}
    assert rows["CLIP patches, layer -2: shape of a lone thing by a linear map"] > 0.8


def test_the_chosen_picture_is_never_better_than_the_best(models: Path) -> None:
    rows = {name: value for name, value, _ in choosing.rows(Clip(models / "clip"), models / "text-to-image", 8)}
    chosen = rows["generated: attributes right, the best of 4 by CLIPScore"]
    assert 0 < chosen <= rows["generated: attributes right, the best of 4 there is"]
