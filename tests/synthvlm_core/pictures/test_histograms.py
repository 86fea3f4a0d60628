import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_core.pictures import histograms


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("it's a <b>cat</b> & a [dog](x)", "it's a <b>cat</b> & a [dog](x)"),
        ("two\nlines\tand \u202etnemges", "two␣lines␣and ␣tnemges"),
        ("x" * 161, "x" * 159 + "…"),
    ],
)
def test_one_line(text: str, shown: str) -> None:
    assert histograms.one_line(text) == shown


@given(st.text())
def test_a_line_is_one_line(text: str) -> None:
    assert len(histograms.one_line(text).splitlines()) <= 1


@pytest.mark.parametrize("edges", [[i / 10 for i in range(11)], [10.0**i for i in range(11)]])
def test_histograms_are_a_small_picture(edges: list[float]) -> None:
    found = {"alnum_ratio": {"edges": edges, "kept": [0, 1] * 5, "rejected": [2] * 10}}
    rule = {"name": "alphanumeric", "statistic": "alnum_ratio", "minimum": 0.6, "maximum": None}
    data = histograms.histograms(found, [rule], "title")
    assert len(data) < 150_000
    assert Image.open(io.BytesIO(data)).size[0] > 200


def test_values_far_from_their_threshold_are_seen() -> None:
    edges = [0.99990 + i * 1e-7 for i in range(51)]
    found = {"judge_yes": {"edges": edges, "kept": [0] * 49 + [20], "rejected": [0] * 50}}
    rule = {"name": "judge", "statistic": "judge_yes", "minimum": 0.5, "maximum": None}
    picture = Image.open(io.BytesIO(histograms.histograms(found, [rule], ""))).convert("RGB")
    column = max(
        sum(picture.getpixel((x, y)) == (0x2A, 0x78, 0xB5) for y in range(picture.height)) for x in range(picture.width)
    )
    assert column > picture.height // 2, "a bar from the axis to the top, however narrow its bin"


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
