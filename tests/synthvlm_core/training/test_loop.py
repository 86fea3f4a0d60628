from pathlib import Path

import pytest

from synthvlm_core.errors import RecipeError
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.training import loop


def test_a_batch_that_cannot_be_cut_for_all_processes_is_refused(
    tiny_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(RecipeError, match="global_batch 8 is no multiple of micro_batch 4 times 3 processes"):
        loop._arguments(tiny_recipe.training.align, steps=1, precision="float32", work=tmp_path, seed=0, save_steps=1)
