"""What all stages have in common: one manifest, one way of not being there yet, and what was made last."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import filter_captions

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.errors import Mendable, NotMaterialized
from synthvlm_core.graph import STAGES
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import Stage
from synthvlm_core.store.objects import Store

Edit = Callable[..., Recipe]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_a_stage_that_never_ran_says_what_to_materialize(
    stage: type[Stage], store: Store, small_recipe: Recipe
) -> None:
    """Whatever is missing first: the error names it, and nothing is written."""
    for partition in stage.partitions(small_recipe):
        with pytest.raises(NotMaterialized, match=r"materialize \w+ first") as caught:
            _ = stage(store, small_recipe, partition).manifest
        assert store.url() in str(caught.value)
    assert not Path(store.root).exists()


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_partitions_are_the_recipes_in_its_order(stage: type[Stage], small_recipe: Recipe) -> None:
    expected = {"source": ["laion", "cc"], "set": ["synthvlm", "random"], "variant": ["synthvlm-mini", "random-mini"]}
    assert stage.partitions(small_recipe) == expected[stage.over]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_code_version_knows_no_machine_and_no_batch(stage: type[Stage], small_recipe: Recipe, edited: Edit) -> None:
    elsewhere = edited(
        small_recipe, {"folder": "/elsewhere", "name": "other", "generator.batch_size": 4, "evaluation.batch_size": 1}
    )
    assert stage.code_version(elsewhere) == stage.code_version(small_recipe)
    assert stage.code_version(small_recipe) != STAGES[0].code_version(small_recipe) or stage is STAGES[0]


def test_a_manifest_is_read_once_per_object(store: Store, small_recipe: Recipe) -> None:
    filter_captions(store, small_recipe)
    stage = FilteredCaptions(store, small_recipe, "laion")
    before = stage.manifest
    (Path(stage.path) / "manifest.json").unlink()
    assert stage.manifest is before
    with pytest.raises(NotMaterialized):
        _ = FilteredCaptions(store, small_recipe, "laion").manifest


def test_who_makes_a_stage_reads_no_manifest_afterwards(store: Store, small_recipe: Recipe) -> None:
    RawCaptions(store, small_recipe, "laion").make()
    stage = FilteredCaptions(store, small_recipe, "laion")
    assert stage.make() is stage.manifest


@pytest.mark.parametrize("damage", [b"", b"not JSON", b"[1]", b"\xff"])
def test_a_damaged_manifest_is_named_with_its_remedy(store: Store, small_recipe: Recipe, damage: bytes) -> None:
    filter_captions(store, small_recipe)
    stage = FilteredCaptions(store, small_recipe, "laion")
    Path(stage.manifest_path).write_bytes(damage)
    with pytest.raises(
        Mendable, match=r"manifest\.json: .*delete it and materialize filtered_captions of 'laion' again"
    ):
        _ = stage.manifest


def test_previous_is_what_a_recipe_of_this_name_made_last(store: Store, small_recipe: Recipe, edited: Edit) -> None:
    stricter = edited(small_recipe, {"captions.rules.alphanumeric.min_ratio": 0.72})
    assert FilteredCaptions(store, small_recipe, "laion").previous() is None
    filter_captions(store, small_recipe)
    first = FilteredCaptions(store, small_recipe, "laion")
    assert FilteredCaptions(store, stricter, "laion").previous() == (first.path, first.manifest)

    filter_captions(store, stricter)
    second = FilteredCaptions(store, stricter, "laion")
    assert second.path != first.path
    assert FilteredCaptions(store, small_recipe, "laion").previous() == (second.path, second.manifest)

    # an edit taken back finds its decision in the store, and is the last again
    FilteredCaptions(store, small_recipe, "laion").make()
    assert FilteredCaptions(store, stricter, "laion").previous() == (first.path, first.manifest)

    # other names and partitions have pasts of their own
    assert FilteredCaptions(store, edited(small_recipe, {"name": "other"}), "laion").previous() is None
    assert (
        FilteredCaptions(store, small_recipe, "cc").previous()
        != FilteredCaptions(store, small_recipe, "laion").previous()
    )


def test_the_pointer_says_what_was_made_of_what(store: Store, small_recipe: Recipe) -> None:
    filter_captions(store, small_recipe)
    stage = FilteredCaptions(store, small_recipe, "laion")
    latest = json.loads((Path(store.root) / "latest" / "small" / "filtered_captions" / "laion.json").read_text())
    assert latest == {
        "manifest": stage.manifest_path.removeprefix(f"{store.root}/"),
        "code_version": FilteredCaptions.code_version(small_recipe),
        "settings": stage.settings,
        "content": stage.manifest["content_hash"],
        "inputs": {"raw_captions/laion": stage.raw.manifest["content_hash"]},
    }


@pytest.mark.parametrize(
    "pointer",
    [
        "[]",
        "{}",
        '{"manifest": null}',
        '{"manifest": "../../../etc/passwd"}',
        '{"manifest": "filtered_captions/gone/manifest.json"}',
        '{"manifest": "list.json"}',
    ],
)
def test_a_pointer_that_leads_nowhere_is_no_past(store: Store, small_recipe: Recipe, pointer: str) -> None:
    filter_captions(store, small_recipe)
    store.put_json(store.path("list.json"), [1])
    (Path(store.root) / "latest" / "small" / "filtered_captions" / "laion.json").write_text(pointer)
    assert FilteredCaptions(store, small_recipe, "laion").previous() is None


def test_a_store_can_be_moved(store: Store, small_recipe: Recipe, tmp_path: Path) -> None:
    """Pointers are relative to the store's root."""
    filter_captions(store, small_recipe)
    Path(store.root).rename(tmp_path / "moved")
    moved = FilteredCaptions(Store(str(tmp_path / "moved")), small_recipe, "laion")
    assert moved.previous() == (moved.path, moved.manifest)
