import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from synthvlm_core import previews


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
    assert previews.escape(text) == shown


@given(st.text())
def test_escaped_text_is_one_harmless_line(text: str) -> None:
    shown = previews.escape(text)
    assert len(shown.splitlines()) <= 1
    assert "<" not in shown
    assert "](" not in shown


def test_long_text_is_cut_visibly() -> None:
    assert previews.escape("x" * 500).endswith("…")


@pytest.mark.parametrize("edges", [[i / 10 for i in range(11)], [10.0**i for i in range(11)]])
def test_histograms_are_a_small_picture(edges: list[float]) -> None:
    found = {"alnum_ratio": {"edges": edges, "kept": [0, 1] * 5, "rejected": [2] * 10}}
    rule = {"name": "alphanumeric", "statistic": "alnum_ratio", "minimum": 0.6, "maximum": None}
    data = previews.histograms(found, [rule], "title")
    assert len(data) < 150_000
    assert Image.open(io.BytesIO(data)).size[0] > 200


def test_nothing_to_draw_is_a_picture_too() -> None:
    assert Image.open(io.BytesIO(previews.histograms({}, [], "nothing"))).format == "PNG"
