"""Each check holds on a sound store and fails on the one store made to break it."""

import math
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.scoring import checks, scoring
from synthvlm_core.scoring.scored import TABLE, ScoredPairs
from synthvlm_core.store import shards
from synthvlm_core.store.objects import Store

from .conftest import IMAGES, SOURCE, Edit, pairs, rows_of

Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]


@pytest.fixture
def scored(drawn: Store, recipe: Recipe) -> ScoredPairs:
    pairs(drawn, recipe).make()
    return pairs(drawn, recipe)


def rewrite(stage: ScoredPairs, change: Change, **stated: object) -> ScoredPairs:
    """Put other pairs in place of the stored ones, manifest and all, as a faulty stage would have."""
    [shard] = stage.shards(TABLE)
    rows = change(stage.folder.read(shard.name).to_pylist())
    new = stage.folder.put(pa.Table.from_pylist(rows, stage.table.schema))
    shards.seal(stage.store, stage.path, {**stage.manifest, **stated}, {TABLE: [new]})
    return pairs(stage.store, stage.recipe)


def edit(place: int, **values: object) -> Change:
    return lambda rows: [{**row, **values} if number == place else row for number, row in enumerate(rows)]


def test_all_hold_on_a_sound_store(scored: ScoredPairs) -> None:
    for holds in (
        checks.every_image_has_one_score,
        checks.scores_agree_with_stored_images,
        checks.shards_are_undamaged,
    ):
        finding = holds(scored)
        assert finding.passed, finding
    assert checks.scores_agree_with_stored_images(scored).numbers == {
        "looked_at": 8,
        "of": 8,
        "power": 1.0,
        "wrong": 0,
        "ssim": "0.0e+00",
        "brightness": "0.0e+00",
    }


@pytest.mark.model
def test_the_papers_scores_hold_as_well(drawn: Store, clip_recipe: Recipe) -> None:
    pairs(drawn, clip_recipe).make()
    found = checks.scores_agree_with_stored_images(pairs(drawn, clip_recipe))
    assert found.passed, found
    assert (found.numbers["looked_at"], found.numbers["clip_score"], found.numbers["ssim"]) == (
        IMAGES,
        "0.0e+00",
        "0.0e+00",
    )
    off = rewrite(pairs(drawn, clip_recipe), edit(5, clip_score=0.5))
    assert "clip_score of" in checks.scores_agree_with_stored_images(off).summary


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda rows: rows[1:], "1 missing"),
        (lambda rows: [*rows, rows[0]], "1 more than one"),
        (edit(0, image_id="0" * 32), "1 of no image that counts"),
        (edit(2, brightness=math.nan), "1 not finite"),
        (edit(2, ssim=math.inf), "1 not finite"),
        (edit(1, caption_id="0" * 32), "1 of another caption"),
        (edit(1, picture_hash="0" * 64), "1 of another picture"),
        (edit(1, source="cc"), "1 of another source than laion"),
    ],
    ids=["missing", "doubled", "surplus", "nan", "infinite", "caption", "picture", "source"],
)
def test_rows_that_are_not_one_per_image(scored: ScoredPairs, change: Change, said: str) -> None:
    finding = checks.every_image_has_one_score(rewrite(scored, change))
    assert not finding.passed
    assert said in finding.summary
    assert finding.numbers[said.removeprefix("1 ").removesuffix(" than laion").replace(" ", "_")] == 1


def test_scores_of_another_spec(scored: ScoredPairs) -> None:
    finding = checks.every_image_has_one_score(rewrite(scored, lambda rows: rows, spec="f" * 32))
    assert not finding.passed
    assert "states spec " + "f" * 32 in finding.summary


def test_images_of_another_definition(scored: ScoredPairs) -> None:
    finding = checks.every_image_has_one_score(rewrite(scored, lambda rows: rows, image_definition="f" * 32))
    assert not finding.passed
    assert "states image definition " + "f" * 32 in finding.summary


@pytest.mark.parametrize("score", ["brightness", "ssim"])
def test_an_edited_score(scored: ScoredPairs, score: str) -> None:
    image_id = rows_of(scored.store, scored.recipe)[5]["image_id"]
    finding = checks.scores_agree_with_stored_images(rewrite(scored, edit(5, **{score: 0.123})))
    assert not finding.passed
    assert f"{score} of {image_id} is" in finding.summary


@pytest.mark.parametrize(("off", "passes"), [(0.9e-5, True), (1.1e-5, False), (math.nan, False)])
def test_a_score_may_be_off_by_its_bound_and_no_more(scored: ScoredPairs, off: float, passes: bool) -> None:
    value = rows_of(scored.store, scored.recipe)[5]["ssim"]
    moved = rewrite(scored, edit(5, ssim=value + off))
    assert checks.scores_agree_with_stored_images(moved).passed is passes


def test_an_edited_score_is_told_from_the_measured_one_wherever_it_stands(scored: ScoredPairs) -> None:
    """No sample: the table is held against the measurements whole, and what to do about it mends it."""
    before = rows_of(scored.store, scored.recipe)
    for place in range(IMAGES):
        edited_stage = rewrite(scored, edit(place, ssim=before[place]["ssim"] + 1e-9))
        finding = checks.every_image_has_one_score(edited_stage)
        assert not finding.passed
        assert f"1 ssim other than measured, the first {before[place]['image_id']}" in finding.summary
    delete = re.search(r"delete (\S+), (\S+) and materialize scored_pairs of 'laion' again", finding.summary)
    assert delete is not None
    assert "/scores/ssim/" in delete[2], "the table or the measurement: nobody can tell which is wrong"
    for folder in delete.groups():
        shutil.rmtree(folder.removeprefix("file://"))
    pairs(scored.store, scored.recipe).make()
    assert checks.every_image_has_one_score(pairs(scored.store, scored.recipe)).passed
    assert rows_of(scored.store, scored.recipe) == before


def test_a_manifest_made_to_fit_edited_rows_is_not_believed_when_made_again(scored: ScoredPairs) -> None:
    """A shard with other rows under an honest name, and a manifest that names it but keeps the old sum."""
    before = rows_of(scored.store, scored.recipe)
    [old] = scored.shards(TABLE)
    rows = edit(0, ssim=0.9)(scored.folder.read(old.name).to_pylist())
    new = scored.folder.put(pa.Table.from_pylist(rows, scored.table.schema))
    stated = replace(new, content_hash=old.content_hash)
    shards.seal(scored.store, scored.path, scored.manifest, {TABLE: [stated]})
    finding = checks.shards_are_undamaged(pairs(scored.store, scored.recipe))
    assert not finding.passed
    assert f"{new.name} has other rows than its manifest states; materialize scored_pairs again" in finding.summary
    pairs(scored.store, scored.recipe).make()
    assert rows_of(scored.store, scored.recipe) == before


def test_other_scores_are_put_to_another_sample(scored: ScoredPairs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "LEAST_LOOKED_AT", 2)
    asked: list[set[str]] = []
    recomputed = scoring.recomputed

    def listening(recipe: Recipe, rows: Iterable[dict[str, Any]]) -> Any:
        seen = list(rows)
        asked.append({row["image_id"] for row in seen})
        return recomputed(recipe, seen)

    monkeypatch.setattr(scoring, "recomputed", listening)
    for number in range(6):
        stage = rewrite(scored, lambda rows: rows, content_hash=f"{number:032x}")
        finding = checks.scores_agree_with_stored_images(stage)
        assert "2 of 8 images, which meets damage of 1% of them with a probability of 25.0%" in finding.summary
    assert len({frozenset(ids) for ids in asked}) > 1
    assert all(len(ids) == 2 for ids in asked)


def test_a_sample_grows_to_all_on_demand(scored: ScoredPairs, edited: Edit, monkeypatch: pytest.MonkeyPatch) -> None:
    """One score of eight is wrong, in the measurement as well as in the table: two of eight may miss it, all cannot."""
    monkeypatch.setattr(scoring, "LEAST_LOOKED_AT", 2)
    value = rows_of(scored.store, scored.recipe)[5]["ssim"]
    wrong = rewrite(scored, edit(5, ssim=value + 0.1))
    closely = pairs(wrong.store, edited(wrong.recipe, {"checks.share": 1.0}))
    finding = checks.scores_agree_with_stored_images(closely)
    assert not finding.passed
    assert finding.numbers["looked_at"] == 8
    assert "ssim of" in finding.summary
    assert f"{closely.score_folder(closely.recipe.scores[0]).path}" in finding.summary, "it says what to delete"


def test_a_swapped_pair(scored: ScoredPairs) -> None:
    """Two pictures change places, their rows' ids and texts stay."""
    stage = SyntheticImages(scored.store, scored.recipe, SOURCE)
    folder, manifest = stage.folder, stage.manifest
    rows = folder.read(manifest["shards"][0]["name"]).to_pylist()
    rows[0]["image"], rows[-1]["image"] = rows[-1]["image"], rows[0]["image"]
    manifest["shards"][0]["name"] = folder.put(pa.Table.from_pylist(rows, folder.table.schema)).name
    scored.store.put_json(stage.manifest_path, manifest)
    again = pairs(scored.store, scored.recipe)
    assert not checks.scores_agree_with_stored_images(again).passed
    assert checks.every_image_has_one_score(again).numbers["of_another_picture"] == 2


def test_a_truncated_shard(scored: ScoredPairs) -> None:
    [shard] = scored.shards(TABLE)
    path = Path(scored.folder.path, shard.name)
    path.write_bytes(path.read_bytes()[:-10])
    finding = checks.shards_are_undamaged(scored)
    assert not finding.passed
    assert shard.name in finding.summary


def test_a_third_score_is_checked_without_more(drawn: Store, recipe: Recipe, edited: Edit) -> None:
    scores = [*recipe.model_dump(mode="json")["scores"], {"score": "colourfulness"}]
    stage = pairs(drawn, edited(recipe, {"scores": scores}))
    stage.make()
    assert checks.every_image_has_one_score(stage).passed
    assert checks.scores_agree_with_stored_images(stage).passed
    off = rewrite(stage, edit(3, colourfulness=1.0))
    assert "colourfulness of" in checks.scores_agree_with_stored_images(off).summary
