"""The published recipe is the recipe without this machine."""

import json

import pytest

from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import recipe_file

from .conftest import Edit


@pytest.mark.parametrize("name", ["miniature", "paper"])
def test_it_is_read_back_as_the_same_recipe(name: str) -> None:
    recipe = loading.load(name)
    text = recipe_file.published(recipe).decode()
    assert json.loads(text)["folder"] == ""
    assert loading.loads(text) == recipe.model_copy(update={"folder": ""})


def test_no_place_of_this_machine_is_told(recipe: Recipe, edited: Edit) -> None:
    """Of a path outside the recipe's folder its last name is left; what is relative, packaged or a URL stays."""
    own = edited(
        recipe,
        {
            "folder": "/home/anna/recipes",
            "sources.laion.files": ["/home/anna/recipes/laion/*.parquet", "/disk/laion/more.parquet", "part/*.parquet"],
            "sources.cc.files": ["s3://bucket/cc.tsv"],
            "scores.clip_score.model": {"id": "/disk/anna/models/clip"},
            "training.instructions": "/home/anna/recipes/mix.json",
            "release.instructions": ["/shrug, describe it", "What is it?"],
        },
    )
    text = recipe_file.published(own).decode()
    assert "anna" not in text
    assert "/disk" not in text
    told = json.loads(text)
    assert told["sources"][0]["files"] == ["laion/*.parquet", "more.parquet", "part/*.parquet"]
    assert told["sources"][1]["files"] == ["s3://bucket/cc.tsv"]
    assert told["scores"][0]["model"]["id"] == "clip"
    assert told["training"]["instructions"] == "mix.json"
    assert told["release"]["instructions"] == ["/shrug, describe it", "What is it?"]
    assert told["training"]["vision_tower"]["id"] == "package:synthvlm_miniature/models/clip-vision"
