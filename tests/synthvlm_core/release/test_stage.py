"""Publishing: what a release holds, when there is a new one, and what a kill, damage or a refusal leaves behind."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from synthvlm_core import records, selection, tables
from synthvlm_core.errors import NotMaterialized
from synthvlm_core.images import synthesis
from synthvlm_core.recipe import Recipe
from synthvlm_core.release import checks, stage
from synthvlm_core.scoring import stage as scoring
from synthvlm_core.selection import TooFewPairs
from synthvlm_core.store import Store

from .conftest import contents, folder_of, score_everything

Edit = Callable[[Recipe, dict[str, object]], Recipe]


def released_rows(store: Store, manifest: dict) -> list[dict]:
    return [row for part in stage.rows(store, manifest) for row in part.to_pylist()]


def ids(store: Store, recipe: Recipe, method: selection.Method = "synthvlm") -> list[str]:
    return [row["image_id"] for row in released_rows(store, stage.manifest(store, recipe, method))]


def all_hold(store: Store, recipe: Recipe) -> bool:
    properties = (checks.set_is_whole, checks.no_pair_is_below_the_floor, checks.formats_agree)
    return all(holds(store, recipe).passed for holds in properties)


def test_the_best_pairs_are_released_with_their_stored_pictures(scored: Store, recipe: Recipe) -> None:
    stored, best = {}, {}
    for source in recipe.sources:
        for part in synthesis.counting_images(scored, recipe, source.name):
            stored |= {row["image_id"]: row for row in part.to_pylist()}
        for row in scoring.dataset(scored, recipe, source.name).to_table().to_pylist():
            row["weighted_score"] = row["clip_score"] + 0.5 * row["ssim"]
            other = best.get(row["caption_id"], row)
            best[row["caption_id"]] = max(row, other, key=lambda r: r["weighted_score"])
    ordered = sorted(best.values(), key=lambda row: -row["weighted_score"])[:4]
    expected = [
        {**row, "rank": rank, "text": stored[row["image_id"]]["text"], "image": stored[row["image_id"]]["image"]}
        for rank, row in enumerate(ordered, 1)
    ]

    manifest = stage.publish(scored, recipe)
    assert released_rows(scored, manifest) == expected
    assert manifest["rows"] == 4
    assert {row["source"] for row in expected} == {"laion", "cc"}, "the example should mix sources"
    assert all_hold(scored, recipe)


def test_columns_are_read_alone_on_request(released: Store, recipe: Recipe) -> None:
    [part] = stage.rows(released, stage.manifest(released, recipe), ["rank"])
    assert part.to_pydict() == {"rank": [1, 2, 3, 4]}


def test_shards_and_the_order_of_sources_do_not_show(tmp_path: Path, released: Store, recipe: Recipe) -> None:
    other = Store(str(tmp_path / "other"))
    turned = recipe.model_copy(update={"sources": recipe.sources[::-1]})
    score_everything(other, turned, shard_rows=1)
    assert stage.publish(other, turned)["content_hash"] == stage.manifest(released, recipe)["content_hash"]
    assert ids(other, turned) == ids(released, recipe)


def test_the_same_pairs_again_write_nothing(released: Store, recipe: Recipe) -> None:
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in folder_of(released, recipe).rglob("*") if path.is_file()}

    before, manifest = written(), stage.manifest(released, recipe)
    assert stage.publish(released, recipe) == manifest
    assert written() == before
    assert len(list(folder_of(released, recipe).parent.iterdir())) == 2  # the release and `latest`


def test_another_selection_is_another_release_and_the_old_one_stays(
    released: Store, recipe: Recipe, edited: Edit
) -> None:
    old = folder_of(released, recipe)
    before = contents(old)
    smaller = edited(recipe, {"selection.size": 2})
    stage.publish(released, smaller)
    new = folder_of(released, smaller)
    assert new != old
    assert contents(old) == before
    assert len(ids(released, smaller)) == 2

    stage.publish(released, recipe)  # and back again
    assert folder_of(released, recipe) == old
    assert contents(old) == before


def test_other_instructions_are_another_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    """The conversations are part of what is released; its name, however, is where it lies."""
    old = folder_of(released, recipe)
    asked = edited(recipe, {"release.instructions": ["What is to be seen?"]})
    stage.publish(released, asked)
    assert folder_of(released, asked) != old
    assert b"What is to be seen?" in (folder_of(released, asked) / "llava" / "synthvlm.json").read_bytes()

    renamed = edited(recipe, {"release.name": "another"})
    assert stage.publish(released, renamed)["content_hash"] == old.name


def test_the_control_has_a_name_of_its_own(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = stage.manifest(released, recipe)
    manifest = stage.publish(released, recipe, method="random")
    assert manifest["name"] == "synthvlm-mini-random"
    assert stage.manifest(released, recipe) == before
    assert stage.manifest(released, recipe, "random") == manifest
    assert len(ids(released, recipe, "random")) == 4
    assert ids(released, recipe, "random") != ids(released, recipe)


def test_a_failing_source_stops_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    """Neither a set with it nor one without it, though the other source alone could fill it."""
    before = contents(Path(released.path("releases")))
    means = {s.name: selection.verify_source(released, recipe, s.name).numbers for s in recipe.sources}
    failing, passing = sorted(means, key=lambda name: means[name]["mean_clip_score"])
    bound = means[passing]["mean_clip_score"]
    strict = edited(recipe, {"selection.size": 3, "selection.source_thresholds.mean_clip_score": bound})
    with pytest.raises(stage.FailingSource, match=rf"\({failing}: mean clip score .* is below .*\); mend them"):
        stage.publish(released, strict)
    assert contents(Path(released.path("releases"))) == before


def test_too_few_pairs_leave_latest_as_it_was(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = contents(Path(released.path("releases")))
    with pytest.raises(TooFewPairs, match="9 pairs are wanted, 8 can be taken"):
        stage.publish(released, edited(recipe, {"selection.size": 9}))
    assert contents(Path(released.path("releases"))) == before


def test_without_a_release_the_message_names_the_stage(scored: Store, recipe: Recipe) -> None:
    with pytest.raises(NotMaterialized, match=r"no release 'synthvlm-mini' in .*: materialize synthvlm_100k first"):
        stage.manifest(scored, recipe)


def test_a_source_without_scores_stops_the_release(released: Store, recipe: Recipe, edited: Edit) -> None:
    before = contents(Path(released.path("releases")))
    with pytest.raises(NotMaterialized, match=r"scores of source 'laion' .*: materialize scored_pairs first"):
        stage.publish(released, edited(recipe, {"scores.ssim.window": 9}))
    assert contents(Path(released.path("releases"))) == before


def test_a_scored_image_that_is_not_stored_stops_the_release(scored: Store, recipe: Recipe) -> None:
    """Scores of another image under a caption's name, manifest and all, as a faulty stage would have left them."""
    folder, shards = scoring.shards(scored, recipe, "cc")
    rows = [row for shard in shards for row in folder.read(shard.name).to_pylist()]
    rows[0] = {**rows[0], "image_id": "0" * 32, "clip_score": 0.9}
    shard = folder.put(pa.Table.from_pylist(rows, records.SCORES.schema))
    tables.seal(scored, folder.path, scoring.manifest(scored, recipe, "cc"), {"scores": [shard]})
    with pytest.raises(NotMaterialized, match=f"image {'0' * 32} is scored but not stored"):
        stage.publish(scored, recipe)


class Killed(BaseException):
    """Not an Exception: nothing may catch it on the way."""


class Mortal(Store):
    """A store whose process dies at the n-th write, counted from 0, before or after the object appeared."""

    def __init__(self, url: str, writes: int, *, after: bool = False) -> None:
        super().__init__(url)
        self.writes = writes
        self.after = after

    def replace(self, path: str, data: bytes) -> None:
        self.writes -= 1
        if self.writes < 0 and not self.after:
            raise Killed
        super().replace(path, data)
        if self.writes < 0:
            raise Killed

    def put(self, path: str, data: bytes) -> bool:
        raise AssertionError("a release puts files in place of what a killed run left")


WRITES = 8
"""Of a release of two pairs: two pictures, Parquet, JSON, recipe, card, manifest, latest."""


@pytest.fixture(scope="session")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, released_shelf: Path, recipe: Recipe) -> dict[str, bytes]:
    """All releases after one of four pairs and one of two."""
    folder = tmp_path_factory.mktemp("uninterrupted") / "store"
    shutil.copytree(released_shelf, folder)
    counted = Mortal(str(folder), WRITES)
    stage.publish(counted, of_two(recipe))
    assert counted.writes == 0, "WRITES are all of them"
    return contents(folder / "releases")


def of_two(recipe: Recipe) -> Recipe:
    return recipe.model_copy(update={"selection": recipe.selection.model_copy(update={"size": 2})})


@pytest.mark.parametrize("writes", range(WRITES))
def test_killed_before_any_write_and_published_again(
    released: Store, recipe: Recipe, uninterrupted: dict[str, bytes], writes: int
) -> None:
    old = folder_of(released, recipe)
    with pytest.raises(Killed):
        stage.publish(Mortal(released.root, writes), of_two(recipe))
    assert folder_of(released, recipe) == old
    assert all_hold(released, recipe)

    stage.publish(released, of_two(recipe))
    assert contents(Path(released.path("releases"))) == uninterrupted


def test_killed_after_the_last_write_everything_is_there(
    released: Store, recipe: Recipe, uninterrupted: dict[str, bytes]
) -> None:
    with pytest.raises(Killed):
        stage.publish(Mortal(released.root, WRITES - 1, after=True), of_two(recipe))
    assert contents(Path(released.path("releases"))) == uninterrupted
    assert all_hold(released, of_two(recipe))


def test_killed_in_the_first_release_there_is_none(scored: Store, recipe: Recipe) -> None:
    with pytest.raises(Killed):
        stage.publish(Mortal(scored.root, WRITES - 1), of_two(recipe))
    with pytest.raises(NotMaterialized):
        stage.manifest(scored, recipe)


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("data/*.parquet", lambda data: data[:-10]),
        ("data/*.parquet", None),
        ("llava/synthvlm.json", lambda data: data.replace(b"a ", b"an ")),
        ("llava/images/*/*.png", lambda data: data[:-1]),
        ("llava/images/*/*.png", None),
        ("manifest.json", lambda data: data[:-10]),
        ("manifest.json", lambda data: b"{}"),
    ],
    ids=["cut Parquet", "no Parquet", "other JSON", "cut picture", "no picture", "cut manifest", "empty manifest"],
)
def test_publishing_again_mends_damage(
    released: Store, recipe: Recipe, file: str, change: Callable[[bytes], bytes] | None
) -> None:
    folder = folder_of(released, recipe)
    before = contents(folder)
    path = next(folder.glob(file))
    if change is None:
        path.unlink()
    else:
        path.write_bytes(change(path.read_bytes()))
    assert contents(folder) != before
    stage.publish(released, recipe)
    assert contents(folder) == before


def test_a_release_on_s3_is_that_on_disk(released: Store, recipe: Recipe, shelf: Path, s3_store: Store) -> None:
    s3_store.fs.put(f"{shelf}/", f"{s3_store.root}/", recursive=True)
    manifest = stage.publish(s3_store, recipe)
    assert manifest == stage.manifest(released, recipe)
    assert stage.publish(s3_store, recipe) == manifest
    assert released_rows(s3_store, manifest) == released_rows(released, manifest)
    assert all_hold(s3_store, recipe)


def test_the_code_version_follows_selection_and_release(recipe: Recipe, edited: Edit) -> None:
    def touched(changes: dict[str, object]) -> bool:
        return stage.code_version(edited(recipe, changes)) != stage.code_version(recipe)

    assert touched({"selection.weight": 0.7})
    assert touched({"release.instructions": ["What is to be seen?"]})
    assert not touched({"training.align.epochs": 3.0, "threads": 2})
