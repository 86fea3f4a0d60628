"""What a person sees of a decision: nothing is missing, nothing is markup."""

import base64
import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from synthvlm_assets import metadata
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.recipe import loading
from synthvlm_core.store.objects import Store


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of the miniature's LAION file, decided by the rules on text and on original images."""
    values = json.loads(loading.dumps(loading.load("miniature")))
    rules = [rule for rule in values["captions"]["rules"] if rule["rule"] not in ("perplexity", "judge")]
    values["captions"]["rules"] = [*rules, {"rule": "near_duplicates", "threshold": 0.6}]
    recipe, store = loading.loads(json.dumps(values)), Store(str(tmp_path_factory.mktemp("store")))
    RawCaptions(store, recipe, "laion").make()
    FilteredCaptions(store, recipe, "laion").make()
    return metadata.filtered_captions(FilteredCaptions(store, recipe, "laion"))


def picture(shown: dict[str, Any], name: str) -> Image.Image:
    told = shown[name]["raw_value"]
    assert len(told) < 200_000
    head, _, data = told.partition("base64,")
    assert head.startswith("![](data:image/")
    return Image.open(io.BytesIO(base64.b64decode(data.rstrip(")"))))


@pytest.mark.model
def test_captions_are_shown_beside_their_original_images(shown: dict[str, Any], tmp_path: Path) -> None:
    sheet = picture(shown, "beside their original images")
    assert sheet.width > sheet.height > 100  # six pictures in a line
    outcomes = {row["outcome"]: row["captions"] for row in shown["original images"]["raw_value"]["records"]}
    assert outcomes["ok"] > 100
    assert outcomes["not among the files"] > 300
    for name in ("funnel", "histograms"):
        assert picture(shown, name).width > 400


@pytest.mark.model
def test_every_rule_is_a_step_and_has_examples(shown: dict[str, Any]) -> None:
    steps = [row["step"] for row in shown["captions left"]["raw_value"]["records"]]
    assert steps[-2:] == ["image_text_similarity", "near_duplicates"]
    near = [(row["rule"], row["verdict"]) for row in shown["nearest to the thresholds"]["raw_value"]["records"]]
    assert {("image_text_similarity", "kept"), ("image_text_similarity", "rejected")} <= set(near)
    assert ("near_duplicates", "rejected") in near
