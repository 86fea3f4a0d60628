"""The card says what manifest, recipe and parts say, and its front matter is read whatever a title holds."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from harness import Painter
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from synthvlm_core.parts.format import Format
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import card, recipe_file
from synthvlm_core.release.formats import PARTS
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.store.objects import Store

from .conftest import HOSTILE, SET, Edit, folder_of

FILES = ["README.md", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet", "llava/synthvlm.json"]
FORMATS = [cls(format=cls.model_fields["format"].annotation.__args__[0]) for cls in PARTS[:2]]


@pytest.fixture(scope="session")
def manifest(released_shelf: Path, recipe: Recipe) -> dict[str, Any]:
    return Synthvlm100k(Store(str(released_shelf)), recipe, SET).manifest


def rendered(
    recipe: Recipe, manifest: dict[str, Any], *, chosen: str = SET, formats: Sequence[Format] = FORMATS
) -> str:
    return card.render(recipe, recipe.released_set(chosen), manifest, formats, FILES)


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
        ["weighted score, 1 × CLIPScore + 0.5 × SSIM", f"{report['means']['weighted_score']:.4f}"],
    ]
    assert text.count("| source | scored pairs | could be taken | taken | mean CLIPScore | mean SSIM |") == 1
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
    assert front_matter(text)["configs"][0]["data_files"][0]["path"] == ["data/train-00000-of-00001.parquet"]


def test_no_place_of_this_machine_is_told(recipe: Recipe, manifest: dict[str, Any], edited: Edit) -> None:
    drawn = loading.load("miniature").generator.model_dump(mode="json")
    own = edited(
        recipe,
        {
            "generator": {**drawn, "model": {"id": "/disk/anna/models/sdxl"}},
            "scores.clip_score.model": {"id": "/disk/anna/models/clip"},
        },
    )
    text = rendered(recipe_file.as_published(own), manifest)
    assert "`clip`" in text
    assert "`sdxl`" in text
    assert "anna" not in text
    assert "/disk" not in text


def test_parts_tell_themselves(recipe: Recipe, manifest: dict[str, Any]) -> None:
    text = rendered(recipe, manifest)
    assert f"- Images: {recipe.generator.told()}.\n" in text
    for score in recipe.scores:
        assert f"\n- {score.told()}\n" in text
    for form in FORMATS:
        assert f"\n- `{form.folder}/`: {form.explained}\n" in text
    assert "webdataset" not in text


def test_a_control_says_how_it_was_chosen(recipe: Recipe, edited: Edit, manifest: dict[str, Any]) -> None:
    text = rendered(recipe, manifest, chosen="random")
    assert "pairs chosen at random, as a control" in text
    assert "highest" not in text

    sets = [{"name": SET}, {"name": "random", "weights": {"ssim": 2.0}}]
    own = edited(recipe, {"selection.sets": sets})
    assert "weighted score, 2 × SSIM |" in rendered(own, manifest, chosen="random")


def test_a_source_of_which_nothing_was_taken_has_no_means(recipe: Recipe, manifest: dict[str, Any]) -> None:
    means = {"clip_score": None, "ssim": None, "weighted_score": None}
    none = {**manifest["report"]["sources"]["cc"], "selected": 0, "means": means}
    report = {**manifest["report"], "sources": {"cc": none}}
    [cells] = table(rendered(recipe, {**manifest, "report": report}), "| source |")
    assert cells[-3:] == ["0", "–", "–"]


def test_floor_and_thresholds_are_told(recipe: Recipe, edited: Edit, manifest: dict[str, Any]) -> None:
    assert "- Floor: none. Thresholds of a source: none." in rendered(recipe, manifest)
    thresholds = {"mean": {"clip_score": 0.2}, "share_above_floor": 0.85}
    strict = edited(recipe, {"selection.floor": {"ssim": 0.7}, "selection.source_thresholds": thresholds})
    told = "- Floor: ssim ≥ 0.7. Thresholds of a source: mean clip_score ≥ 0.2, share above the floor ≥ 0.85."
    assert told in rendered(strict, manifest)


def test_a_generator_that_promises_nothing_is_not_said_to_be_replayable(
    recipe: Recipe, manifest: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    again = "Every image can be drawn again from its caption, `k` and `attempt`"
    assert again in rendered(recipe, manifest)
    monkeypatch.setattr(Painter, "replayable", False)
    text = rendered(recipe, manifest)
    assert again not in text
    assert "No image can be drawn again" in text


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(title=st.text())
@example(title="SynthVLM: the set # of 2024")
@example(title="a\n---\nlicense: mit")
@example(title='"quoted" [list] {map} *alias &anchor !tag %')
@example(title="yes")
@example(title="a\u2028---\u2028b")
@example(title="several words " * 20)
@example(title="a\u2028b\x85c\x7f😀")
def test_no_title_breaks_the_front_matter(recipe: Recipe, manifest: dict[str, Any], title: str) -> None:
    release = recipe.release.model_copy(update={"title": title})
    text = rendered(recipe.model_copy(update={"release": release}), manifest)
    line = " ".join(title.split())
    data = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    assert front_matter(text) == {
        "pretty_name": line,
        "task_categories": ["image-to-text", "text-to-image"],
        "tags": ["synthetic", "image-caption"],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": data}]}],
    }
    assert f"\n# {line}\n\n4 synthetic" in text
