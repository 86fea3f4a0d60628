"""The verdict on a set is stored beside it, `latest` follows it, and a forged set gets a red one."""

import shutil
from typing import Any

import pyarrow as pa
import pytest

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks, verdict
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import TABLE, ScoredPairs
from synthvlm_core.store import shards
from synthvlm_core.store.objects import Store

from .conftest import SET, Edit, folder_of, rows_of


def a_set(store: Store, recipe: Recipe) -> Synthvlm100k:
    return Synthvlm100k(store, recipe, SET)


def forge_scores(store: Store, recipe: Recipe) -> None:
    """A table of scores with the order turned round, its manifest made to fit: what comes first is the worst."""
    stage = ScoredPairs(store, recipe, "laion")
    [old] = stage.shards(TABLE)
    rows = stage.folder.read(old.name).to_pylist()
    turned = sorted((row["clip_score"] for row in rows), reverse=True)
    worst_first = sorted(rows, key=lambda row: row["clip_score"])
    forged = [{**row, "clip_score": score} for row, score in zip(worst_first, turned, strict=True)]
    forged.sort(key=lambda row: row["image_id"])
    new = stage.folder.put(pa.Table.from_pylist(forged, stage.table.schema))
    shards.seal(store, stage.path, {**stage.manifest, "content_hash": new.content_hash}, {TABLE: [new]})


def test_latest_follows_the_last_check_that_passed(released: Store, recipe: Recipe) -> None:
    stage = a_set(released, recipe)
    for holds in checks.PROPERTIES:
        assert stage.published is None
        assert verdict.stored(stage) is None
        assert verdict.look(stage, holds).passed
    assert stage.published == stage.manifest["content_hash"]
    assert verdict.stored(stage) is True


def test_whoever_asks_completes_the_verdict_and_believes_what_passed(
    released: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    verdict.refuse_unsound(a_set(released, recipe))
    assert a_set(released, recipe).published

    def read(self: Synthvlm100k, *columns: Any) -> Any:
        raise AssertionError("nothing is read again of a set that passed")

    monkeypatch.setattr(Synthvlm100k, "rows", read)
    verdict.refuse_unsound(a_set(released, recipe))


def test_scores_that_are_not_of_the_pictures_make_a_set_red(released: Store, recipe: Recipe) -> None:
    """Everything is sealed again to fit; the pictures alone tell. `latest` stays, and nothing is trained on the set."""
    verdict.refuse_unsound(a_set(released, recipe))
    before = a_set(released, recipe).published
    forge_scores(released, recipe)
    a_set(released, recipe).make()
    forged = a_set(released, recipe)
    assert forged.manifest["content_hash"] != before
    assert forged.published == before
    with pytest.raises(
        verdict.UnsoundSet, match=r"scores_are_of_the_pictures: .*clip_score of [0-9a-f]{32} is"
    ) as said:
        verdict.refuse_unsound(forged)
    assert "mend what the checks of scored_pairs tell" in str(said.value)
    assert a_set(released, recipe).published == before
    assert verdict.stored(forged) is False


def test_a_red_finding_is_looked_at_again_when_somebody_asks(released: Store, recipe: Recipe) -> None:
    picture = next(folder_of(released, recipe).glob("llava/images/*/*.png"))
    good = picture.read_bytes()
    picture.write_bytes(good[:-1])
    assert not verdict.look(a_set(released, recipe), checks.formats_agree).passed
    assert verdict.stored(a_set(released, recipe)) is False
    a_set(released, recipe).make()
    verdict.refuse_unsound(a_set(released, recipe))
    assert picture.read_bytes() == good


def test_a_verdict_is_about_one_recipe(released: Store, recipe: Recipe, edited: Edit) -> None:
    """A floor that is raised afterwards: the stored verdict says nothing about it."""
    verdict.refuse_unsound(a_set(released, recipe))
    lowest = min(row["clip_score"] for row in rows_of(released, recipe))
    raised = edited(recipe, {"selection.floor": {"clip_score": lowest + 1e-9}})
    assert verdict.stored(a_set(released, raised)) is None
    with pytest.raises(verdict.UnsoundSet, match="no_pair_is_below_the_floor: 1 pairs below the floor"):
        verdict.refuse_unsound(a_set(released, raised))


@pytest.mark.parametrize("damage", [b"", b"{}", b'{"passed": true}', None])
def test_a_damaged_finding_is_made_again(released: Store, recipe: Recipe, damage: bytes | None) -> None:
    verdict.refuse_unsound(a_set(released, recipe))
    found = folder_of(released, recipe) / "verdict" / "set_is_whole.json"
    good = found.read_bytes()
    found.unlink()
    if damage is None:
        found.mkdir()
    else:
        found.write_bytes(damage)
    assert verdict.stored(a_set(released, recipe)) is None
    verdict.refuse_unsound(a_set(released, recipe))
    assert found.read_bytes() == good


def test_a_store_from_before_verdicts_gets_one(released: Store, recipe: Recipe) -> None:
    """It has `latest` alone: that is what was made last, and it is looked at before anything is trained on it."""
    folder = folder_of(released, recipe).parent
    shutil.move(folder / "candidate.json", folder / "latest.json")
    assert a_set(released, recipe).manifest["rows"] == 4
    assert verdict.stored(a_set(released, recipe)) is None
    verdict.refuse_unsound(a_set(released, recipe))
    assert verdict.stored(a_set(released, recipe)) is True
