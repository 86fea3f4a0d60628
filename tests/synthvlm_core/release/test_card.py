"""The card says what the manifest says, and its front matter is read whatever a title holds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synthvlm_core.recipe import Recipe
from synthvlm_core.release import card, stage
from synthvlm_core.store import Store

from .conftest import HOSTILE, folder_of

Edit = Callable[[Recipe, dict[str, object]], Recipe]


@pytest.fixture(scope="session")
def manifest(released_shelf, recipe: Recipe) -> dict[str, Any]:
    return stage.manifest(Store(str(released_shelf)), recipe)


def front_matter(text: str) -> dict[str, Any]:
    """What the hub reads: YAML between the first two lines of three dashes."""
    first, matter, *_ = re.split(r"^---$", text, maxsplit=2, flags=re.MULTILINE)
    assert first == ""
    return yaml.safe_load(matter)


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table that begins with a heading."""
    lines = text[text.index(heading) :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_numbers_are_the_manifests(released: Store, recipe: Recipe, manifest: dict[str, Any]) -> None:
    text = (folder_of(released, recipe) / "README.md").read_text()
    report = manifest["report"]
    assert "4 synthetic image-caption pairs with the highest weighted scores" in text
    assert f"Content hash `{manifest['content_hash']}`" in text
    assert table(text, "| | mean |") == [
        ["CLIPScore", f"{report['means']['clip_score']:.4f}"],
        ["SSIM", f"{report['means']['ssim']:.4f}"],
        ["weighted score, CLIPScore + 0.5 × SSIM", f"{report['means']['weighted_score']:.4f}"],
    ]
    assert table(text, "| source |") == [
        [
            name,
            str(found["pairs"]),
            str(found["available"]),
            str(found["selected"]),
            f"{found['means']['clip_score']:.4f}",
            f"{found['means']['ssim']:.4f}",
        ]
        for name, found in report["sources"].items()
    ]
    assert HOSTILE not in text


def test_a_control_says_that_it_was_drawn_by_lot(recipe: Recipe, manifest: dict[str, Any]) -> None:
    text = card.render(recipe, {**manifest, "method": "random"})
    assert "pairs chosen at random, as a control" in text
    assert "highest" not in text


def test_a_source_of_which_nothing_was_taken_has_no_means(recipe: Recipe, manifest: dict[str, Any]) -> None:
    means = {"clip_score": None, "ssim": None, "weighted_score": None}
    none = {**manifest["report"]["sources"]["cc"], "selected": 0, "means": means}
    report = {**manifest["report"], "sources": {"cc": none}}
    [cells] = table(card.render(recipe, {**manifest, "report": report}), "| source |")
    assert cells[-3:] == ["0", "–", "–"]


def test_floor_and_thresholds_are_told(recipe: Recipe, edited: Edit, manifest: dict[str, Any]) -> None:
    assert "- Floor: none. Thresholds of a source: none." in card.render(recipe, manifest)
    strict = edited(recipe, {"selection.floor.ssim": 0.7, "selection.source_thresholds.mean_clip_score": 0.2})
    assert "- Floor: {'ssim': 0.7}. Thresholds of a source: {'mean_clip_score': 0.2}." in card.render(strict, manifest)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text())
@example(title="SynthVLM: the set # of 2024")
@example(title="a\n---\nlicense: mit")
@example(title='"quoted" [list] {map} *alias &anchor !tag %')
@example(title="yes")
@example(title="a\u2028---\u2028b")
@example(title="several words " * 20)
@example(title="a\u2028b\x85c\x7f😀")
def test_no_title_breaks_the_front_matter(recipe: Recipe, edited: Edit, manifest: dict[str, Any], title: str) -> None:
    text = card.render(edited(recipe, {"release.title": title}), manifest)
    line = " ".join(title.split())
    assert front_matter(text) == {
        "pretty_name": line,
        "task_categories": ["image-to-text", "text-to-image"],
        "tags": ["synthetic", "image-caption"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/*.parquet"}]}],
    }
    assert f"\n# {line}\n\n4 synthetic" in text
