"""How what was made last stands to its inputs: found from what stages wrote down, without reading what they made."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import filter_captions

from synthvlm_core import hashing
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.graph import STAGES
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.stages import Stage
from synthvlm_core.standing import State, looking
from synthvlm_core.store.objects import Store
from synthvlm_core.training.aligned import ProjectorCheckpoint

Edit = Callable[[Recipe, dict[str, object]], Recipe]
LAION = "laion"


def state(stage: Stage) -> State:
    return looking()(stage).state


def put_down(stage: Stage, content: str) -> None:
    """What a run that made it would write down."""
    place = stage.store.path("latest", stage.recipe.name, stage.name, f"{stage.partition}.json")
    made: dict[str, Any] = {
        "manifest": "somewhere.json",
        "code_version": stage.code_version(stage.recipe),
        "settings": stage.settings,
        "content": hashing.digest(content.encode()),
        "inputs": {need.title: (need.last_made() or {}).get("content", "") for need in stage.needs},
    }
    stage.store.put_json(place, made)


def test_captions_follow_their_files(store: Store, small_recipe: Recipe, source_files: Path) -> None:
    captions = FilteredCaptions(store, small_recipe, LAION)
    assert state(captions) is State.WAITING
    assert state(captions.raw) is State.NEW
    filter_captions(store, small_recipe)
    assert state(captions) is State.CURRENT
    assert state(SyntheticImages(store, small_recipe, LAION)) is State.NEW

    (source_files / "more.parquet").write_bytes((source_files / "laion.parquet").read_bytes())
    more = small_recipe.sources[0].model_copy(update={"files": ("laion.parquet", "more.parquet")})
    recipe = small_recipe.model_copy(update={"sources": (more, *small_recipe.sources[1:])})
    RawCaptions(store, recipe, LAION).make()
    assert state(FilteredCaptions(store, recipe, LAION)) is State.BEHIND
    FilteredCaptions(store, recipe, LAION).make()
    assert state(FilteredCaptions(store, recipe, LAION)) is State.CURRENT


def test_an_edit_is_told_from_a_change(store: Store, small_recipe: Recipe, edited: Edit) -> None:
    filter_captions(store, small_recipe)
    stricter = edited(small_recipe, {"captions.rules.alphanumeric.min_ratio": 0.9})
    found = looking()(FilteredCaptions(store, stricter, LAION))
    assert found.state is State.EDITED
    assert "materialize filtered_captions of 'laion' again to accept them" in found.why
    waits = looking()(SyntheticImages(store, stricter, LAION))
    assert (waits.state, waits.why) == (State.WAITING, found.why)


def test_other_partitions_come_and_go_without_an_edit(store: Store, small_recipe: Recipe, edited: Edit) -> None:
    for stage in STAGES:
        put_down(stage(store, small_recipe, stage.partitions(small_recipe)[0]), "A")
    first = {
        "sources": small_recipe.sources[:1],
        "selection.sets": small_recipe.selection.sets[:1],
        "training.variants": small_recipe.training.variants[:1],
    }
    smaller = edited(small_recipe, {key: [v.model_dump(mode="json") for v in value] for key, value in first.items()})
    for stage in STAGES:
        [name] = stage.partitions(smaller)
        assert stage(store, smaller, name).settings == stage(store, small_recipe, name).settings
    assert state(ScoredPairs(store, smaller, LAION)) is State.CURRENT


def test_a_set_is_of_all_its_sources(store: Store, small_recipe: Recipe) -> None:
    released = Synthvlm100k(store, small_recipe, "synthvlm")
    for pairs in released.scored:
        images = pairs.images
        for stage in (images.captions.raw, images.captions, images, pairs):
            put_down(stage, stage.title)
    assert state(released) is State.NEW
    put_down(released, "set")
    assert state(released) is State.CURRENT
    put_down(released.scored[1].images.captions, "other")
    found = looking()(released)
    assert (found.state, found.why) == (
        State.WAITING,
        "synthetic_images/cc was made of other content than there is now",
    )
    # what is trained on it needs the set, whatever became of its sources since
    model = ProjectorCheckpoint(store, small_recipe, small_recipe.training.variants[0].name)
    assert state(model) is State.NEW


@pytest.mark.parametrize("document", [b"{", b'{"manifest": "../x", "code_version": "a"}'])
def test_a_damaged_note_is_as_good_as_none(store: Store, small_recipe: Recipe, document: bytes) -> None:
    filter_captions(store, small_recipe)
    Path(store.root, "latest", small_recipe.name, "raw_captions", f"{LAION}.json").write_bytes(document)
    assert state(RawCaptions(store, small_recipe, LAION)) is State.NEW


def test_what_an_earlier_version_made_waits_for_a_person(store: Store, small_recipe: Recipe) -> None:
    stage = RawCaptions(store, small_recipe, LAION)
    stage.make()
    place = store.path("latest", small_recipe.name, "raw_captions", f"{LAION}.json")
    store.put_json(place, {key: (stage.last_made() or {})[key] for key in ("manifest", "code_version")})
    assert state(stage) is State.EDITED
