import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_core.pictures import histograms


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it's a cat & a dog", "it's a cat &amp; a dog"),
        ("<b>bold</b>", "&lt;b&gt;bold&lt;\\/b&gt;"),
        ("two\nlines\tand \u202etnemges", "two␣lines␣and ␣tnemges"),
        ("a | b", "a \\| b"),
        ("[x](y)", "\\[x\\]\\(y\\)"),
    ],
)
def test_escape(text: str, shown: str) -> None:
    assert histograms.escape(text) == shown


@given(st.text())
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    shown = histograms.escape(text)
    assert len(shown.splitlines()) <= 1
    assert "<" not in shown
    assert "](" not in shown


def test_long_text_is_cut_visibly() -> None:
    assert histograms.escape("x" * 500).endswith("…")


@pytest.mark.parametrize("edges", [[i / 10 for i in range(11)], [10.0**i for i in range(11)]])
def test_histograms_are_a_small_picture(edges: list[float]) -> None:
    found = {"alnum_ratio": {"edges": edges, "kept": [0, 1] * 5, "rejected": [2] * 10}}
    rule = {"name": "alphanumeric", "statistic": "alnum_ratio", "minimum": 0.6, "maximum": None}
    data = histograms.histograms(found, [rule], "title")
    assert len(data) < 150_000
    assert Image.open(io.BytesIO(data)).size[0] > 200


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert Image.open(io.BytesIO(histograms.histograms({}, [], "nothing"))).format == "PNG"


@pytest.mark.parametrize("scores", [("clip_score",), ("clip_score", "ssim", "colourfulness"), ()])
def test_there_is_a_panel_for_every_score_there_is(scores: tuple[str, ...]) -> None:
    one = {"histogram": {"edges": [0.0, 0.5, 1.0], "counts": [3, 4]}}
    empty = {"histogram": {"edges": [], "counts": []}}
    found = {**dict.fromkeys(scores, one), "never_finite": empty}
    data = histograms.score_histograms(found, {"clip_score": [0.6, 0.7]}, "title")
    picture = Image.open(io.BytesIO(data))
    assert picture.format == "PNG"
    assert picture.size[0] == pytest.approx(330 * max(1, len(scores)), abs=5)


@pytest.mark.parametrize("losses", [[2.0], [3.0 / step for step in range(1, 500)]])
def test_a_loss_curve_is_a_picture(losses: list[float]) -> None:
    assert Image.open(io.BytesIO(histograms.loss_curve(losses, "loss"))).format == "PNG"
