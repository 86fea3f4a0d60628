"""What `plan` counts is what a run then does, over real stores of painted pictures and a score that needs no model."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from harness import GENERATORS, PAINTER, Painter, registered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.plan import Plan, SetPlan, SourcePlan, VariantPlan, plan
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import Product
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.checkpoints import Checkpoint
from synthvlm_core.training.tuned import VlmCheckpoint

Edit = Callable[[Recipe, dict[str, object]], Recipe]

CAPTIONS = {
    "laion": [
        "a small red circle beside a large blue square on a white background",
        "a drawing of two green rings above a black cross",
        "one yellow triangle in the middle of a grey picture",
        "a large purple square: to the left, of a tiny red ring",
        "red; green; blue; white; three bars, side by side",
    ],
    "cc": ["two thin black lines cross a brown star", "a star, a ring, a bar; all of them orange", "a wide pink arrow"],
}
"""Their shares of letters and digits, in the wrapper, lie between 0.61 and 0.74."""
STRICT, LOOSE = 0.66, 0.6


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, edited: Edit) -> Iterator[Recipe]:
    """Eight captions of two sources, two painted pictures of each, colourfulness and SSIM, the best four pairs."""
    folder = tmp_path_factory.mktemp("sources")
    texts = CAPTIONS["laion"]
    pq.write_table(pa.table({"URL": ["https://example.com/1.jpg"] * len(texts), "TEXT": texts}), folder / "a.parquet")
    (folder / "a.tsv").write_text("".join(f"{text}\thttps://example.com/1.jpg\n" for text in CAPTIONS["cc"]))
    with registered(GENERATORS, Painter):
        yield edited(
            loading.load("miniature"),
            {
                "name": "small",
                "folder": str(folder),
                "sources": [
                    {"name": "laion", "format": "laion", "files": ["*.parquet"]},
                    {"name": "cc", "format": "cc3m", "files": ["*.tsv"]},
                ],
                "captions.rules": [{"rule": "alphanumeric", "min_ratio": LOOSE}],
                "generator": PAINTER,
                "scores": [
                    {"score": "colourfulness"},
                    {"score": "ssim", "shrink_to": 32, "resample": "bicubic", "channels": "rgb"},
                ],
                "selection.size": 4,
                "selection.weights": {"colourfulness": 0.01, "ssim": 1.0},
                "selection.floor": {},
                "selection.source_thresholds": {},
                "release.formats": ["huggingface"],
            },
        )


@dataclass
class Done:
    """What a run did."""

    measured: dict[str, dict[str, int]]
    drawn: dict[str, int]
    scored: dict[str, dict[str, int]]
    kept: dict[str, set[str]]
    pairs: dict[str, set[str]]
    content: dict[str, str]


def run(store: Store, recipe: Recipe) -> Done:
    """The whole graph up to the sets."""
    done = Done({}, {}, {}, {}, {}, {})
    for name in (source.name for source in recipe.sources):
        RawCaptions(store, recipe, name).make()
        filtered = FilteredCaptions(store, recipe, name)
        done.measured[name] = filtered.make()["measured_by_family"]
        done.kept[name] = {row for part in filtered.kept(["caption_id"]) for row in part["caption_id"].to_pylist()}
        done.drawn[name] = SyntheticImages(store, recipe, name).make()["drawn"]
        done.scored[name] = ScoredPairs(store, recipe, name).make()["scored_by_score"]
    for name in (chosen.name for chosen in recipe.selection.sets):
        stage = Synthvlm100k(store, recipe, name)
        done.content[name] = stage.make()["content_hash"]
        done.pairs[name] = {row for part in stage.rows(["image_id"]) for row in part["image_id"].to_pylist()}
    return done


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> tuple[Path, Done]:
    """A store with everything up to the sets, to be copied, and what was done for it."""
    folder = tmp_path_factory.mktemp("shelf") / "store"
    return folder, run(Store(str(folder)), recipe)


@pytest.fixture(scope="module")
def shelf(first_run: tuple[Path, Done]) -> Path:
    """A store with everything up to the sets, to be copied."""
    return first_run[0]


@pytest.fixture
def finished(store: Store, shelf: Path) -> Store:
    """A store of one's own with everything up to the sets."""
    shutil.copytree(shelf, store.root)
    return store


def sources(found: Plan) -> dict[str, SourcePlan]:
    return {source.source: source for source in found.sources}


def the_set(found: Plan, name: str = "synthvlm") -> SetPlan:
    return next(one for one in found.sets if one.name == name)


def model(found: Plan, name: str = "synthvlm-mini") -> VariantPlan:
    return next(one for one in found.variants if one.name == name)


def listing(store: Store) -> dict[str, tuple[int, int]]:
    root = Path(store.root)
    return {str(p.relative_to(root)): (p.stat().st_size, p.stat().st_mtime_ns) for p in root.rglob("*") if p.is_file()}


def trained(stage: Checkpoint) -> dict[str, Any]:
    """What a manifest says of a training that nobody did."""
    return {
        "stage": stage.name,
        "variant": stage.partition,
        "key": stage.key,
        "steps": 1,
        "rows": 1,
        "losses": [1.0],
        "seconds": 0.0,
        "trained_parameters": 1,
        "precision": "float32",
        "device": "cpu",
        "inputs": {},
    }


def train(store: Store, recipe: Recipe) -> None:
    """Put down checkpoints as training would for the sets as they are, without training."""
    for variant in recipe.training.variants:
        tuned = VlmCheckpoint(store, recipe, variant.name)
        for stage in (ProjectorCheckpoint(store, recipe, variant.name), tuned):
            product = Product(store, stage.path)
            product.put("weights", b"frozen")
            stage.made(product.seal({**trained(stage), "content_hash": product.content_hash()}))


def test_in_an_empty_store_nothing_is_known_but_the_files(store: Store, recipe: Recipe, edited: Edit) -> None:
    found = plan(store, recipe)
    for source in found.sources:
        assert (source.files, source.files_to_read) == (1, 1)
        assert "materialize raw_captions" in source.problem
        assert not source.settled
    assert [one.changes for one in found.sets] == [None, None]
    assert "unknown before laion, cc are scored" in the_set(found).problem
    assert all(one.trains and not one.by_itself for one in found.variants), "nobody trained them and no mark stands"
    first = recipe.training.variants[0].name
    marked = plan(store, edited(recipe, {f"training.variants.{first}.automatic": True})).variants
    assert [one.name for one in marked if one.by_itself] == [first]
    assert not Path(store.root).exists()


def test_what_was_read_is_judged_and_not_measured(store: Store, recipe: Recipe) -> None:
    for name in ("laion", "cc"):
        RawCaptions(store, recipe, name).make()
    before = listing(store)
    found = sources(plan(store, recipe))["laion"]
    assert not found.exact
    assert (found.captions, found.kept, found.enter, found.leave) == (5, 5, 5, 0)
    assert found.to_measure == {"text_statistics": 5}
    assert (found.images, found.new, found.again, found.reused) == (10, 10, 0, 0)
    assert found.to_score == {"colourfulness": 10, "ssim": 10}
    assert listing(store) == before


def test_a_finished_store_has_nothing_to_do(finished: Store, recipe: Recipe) -> None:
    before = listing(finished)
    found = plan(finished, recipe)
    for source in found.sources:
        assert source.settled
        assert source.exact
        assert (source.files_to_read, source.enter, source.leave, source.to_draw) == (0, 0, 0, 0)
        assert source.reused == source.images == 2 * source.kept
        assert not any([*source.to_measure.values(), *source.to_score.values()])
    for one in found.sets:
        assert (one.problem, one.changes, one.size, one.enter, one.leave) == ("", False, 4, 0, 0)
        assert one.formats == []
    assert all(one.trains for one in found.variants), "there is no checkpoint yet"
    assert listing(finished) == before


def test_a_recipe_of_another_name_finds_what_others_stored(finished: Store, recipe: Recipe, edited: Edit) -> None:
    found = plan(finished, edited(recipe, {"name": "other"}))
    for source in found.sources:
        assert source.settled
        assert (source.enter, source.leave) == (source.kept, 0)
    assert the_set(found).released == ""
    assert (the_set(found).enter, the_set(found).changes) == (4, True)


def test_trained_models_stay_until_their_set_changes(finished: Store, recipe: Recipe, edited: Edit) -> None:
    train(finished, recipe)
    found = plan(finished, recipe)
    assert [(one.trains, one.by_itself) for one in found.variants] == [(False, False)] * 2

    smaller = edited(recipe, {"selection.size": 3})
    assert all(one.trains and one.by_itself for one in plan(finished, smaller).variants)

    # what cannot be known may start training, and says so
    redrawn = edited(recipe, {"generator.width": 72})
    assert [one.trains for one in plan(finished, redrawn).variants] == [None, None]

    # other settings on the same set wait for somebody to start them
    longer = edited(recipe, {"training.finetune.epochs": 3.0})
    assert [(one.trains, one.by_itself) for one in plan(finished, longer).variants] == [(True, False)] * 2

    # even if the set changes, too
    both = edited(longer, {"selection.size": 3})
    assert [(one.trains, one.by_itself) for one in plan(finished, both).variants] == [(True, False)] * 2

    # and where the sensor is off everything does
    by_hand = edited(smaller, {"automation": ()})
    assert [(one.trains, one.by_itself) for one in plan(finished, by_hand).variants] == [(True, False)] * 2


def test_an_edit_taken_back_trains_nothing(finished: Store, recipe: Recipe, edited: Edit) -> None:
    train(finished, recipe)
    run(finished, edited(recipe, {"selection.size": 3}))
    found = plan(finished, recipe)
    assert (the_set(found).enter, the_set(found).leave, the_set(found).changes) == (1, 0, True)
    assert model(found).trains is False


def test_a_stricter_rule_throws_pairs_out(finished: Store, recipe: Recipe, edited: Edit) -> None:
    before = run(finished, recipe)
    stricter = edited(recipe, {"captions.rules.alphanumeric.min_ratio": STRICT})
    found = plan(finished, stricter)
    assert all(source.settled and source.exact for source in found.sources)
    gone = sum(source.leave for source in found.sources)
    assert gone > 0
    assert sum(source.enter for source in found.sources) == 0
    assert sum(source.reused for source in found.sources) == 2 * (8 - gone)
    assert the_set(found).leave > 0

    after = run(finished, stricter)
    assert sum(after.drawn.values()) == 0
    assert sum(len(before.kept[name] - after.kept[name]) for name in before.kept) == gone
    for one in found.sets:
        assert one.enter == len(after.pairs[one.name] - before.pairs[one.name])
        assert one.leave == len(before.pairs[one.name] - after.pairs[one.name])
        assert one.content == after.content[one.name]


def test_a_looser_rule_draws_exactly_what_was_counted(store: Store, recipe: Recipe, edited: Edit) -> None:
    stricter = edited(recipe, {"captions.rules.alphanumeric.min_ratio": STRICT})
    before = run(store, stricter)
    found = plan(store, recipe)
    assert all(source.exact and not any(source.to_measure.values()) for source in found.sources)
    assert sum(source.enter for source in found.sources) == 8 - sum(map(len, before.kept.values())) > 0
    assert the_set(found).changes is None
    assert the_set(found).leave == 0

    after = run(store, recipe)
    for name, source in sources(found).items():
        assert source.to_draw == source.new == after.drawn[name] == 2 * source.enter
        assert source.to_score == after.scored[name]


def test_another_generator_draws_everything_again(finished: Store, recipe: Recipe, edited: Edit) -> None:
    found = plan(finished, edited(recipe, {"generator.width": 72}))
    for source in found.sources:
        assert (source.new, source.again, source.reused) == (0, source.images, 0)
        assert source.to_score == {"colourfulness": source.images, "ssim": source.images}
    assert the_set(found).changes is None


def test_what_was_drawn_otherwise_and_deleted_since_is_new(finished: Store, recipe: Recipe, edited: Edit) -> None:
    for source in recipe.sources:
        for shard in SyntheticImages(finished, recipe, source.name).shard_names:
            finished.fs.rm(f"{SyntheticImages(finished, recipe, source.name).folder.path}/{shard}")
    for found in plan(finished, edited(recipe, {"generator.width": 72})).sources:
        assert (found.problem, found.new, found.again) == ("", found.images, 0)


def test_more_images_per_caption_draw_the_further_ones(finished: Store, recipe: Recipe, edited: Edit) -> None:
    more = edited(recipe, {"generator.images_per_caption": 3})
    found = sources(plan(finished, more))
    after = run(finished, more)
    for name, source in found.items():
        assert (source.new, source.again, source.reused) == (source.kept, 0, 2 * source.kept)
        assert source.to_draw == after.drawn[name]
        assert source.to_score == after.scored[name]


def test_unhealthy_pictures_are_not_foreseen(store: Store, recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next attempt is counted; what comes of it nobody knows."""
    for name in ("laion", "cc"):
        RawCaptions(store, recipe, name).make()
        FilteredCaptions(store, recipe, name).make()
    expected = {name: source.to_draw for name, source in sources(plan(store, recipe)).items()}
    monkeypatch.setattr(Painter, "fate", lambda self, request: "flat" if request.attempt == 0 else "ok")
    assert {name: SyntheticImages(store, recipe, name).make()["drawn"] for name in expected} == {
        name: 2 * count for name, count in expected.items()
    }


def test_one_score_changed_is_computed_alone(finished: Store, recipe: Recipe, edited: Edit) -> None:
    changed = edited(recipe, {"scores.ssim.window": 9})
    found = sources(plan(finished, changed))
    after = run(finished, changed)
    for name, source in found.items():
        assert source.to_score == after.scored[name] == {"colourfulness": 0, "ssim": source.images}
        assert source.to_draw == 0


def test_another_size_moves_exactly_the_pairs_that_were_counted(finished: Store, recipe: Recipe, edited: Edit) -> None:
    before = run(finished, recipe)
    changed = edited(recipe, {"selection.size": 6, "selection.weights": {"ssim": 1.0}})
    found = plan(finished, changed)
    assert all(source.settled for source in found.sources)
    after = run(finished, changed)
    assert the_set(found).enter > 0
    for one in found.sets:
        assert one.size == len(after.pairs[one.name]) == 6
        assert one.enter == len(after.pairs[one.name] - before.pairs[one.name])
        assert one.leave == len(before.pairs[one.name] - after.pairs[one.name])
        assert (one.released, one.content) == (before.content[one.name], after.content[one.name])


def test_other_weights_of_the_same_pairs_are_another_content(finished: Store, recipe: Recipe, edited: Edit) -> None:
    """The weighted score stands in the rows of a release, and a set of all captions keeps its pairs."""
    halved = edited(recipe, {"selection.weights": {"colourfulness": 0.005, "ssim": 0.5}})
    found = the_set(plan(finished, halved))
    assert (found.enter, found.leave, found.words_change, found.changes) == (0, 0, False, True)
    assert found.content == run(finished, halved).content["synthvlm"]


def test_other_instructions_are_another_content_of_the_same_pairs(
    finished: Store, recipe: Recipe, edited: Edit
) -> None:
    asked = edited(recipe, {"release.instructions": ["Say what you see."]})
    found = plan(finished, asked)
    for one in found.sets:
        assert (one.enter, one.leave, one.words_change, one.changes) == (0, 0, True, True)
    assert {one.name: one.content for one in found.sets} == run(finished, asked).content


def test_a_further_format_is_added_to_the_release_that_is_there(finished: Store, recipe: Recipe, edited: Edit) -> None:
    further = edited(recipe, {"release.formats": ["huggingface", "webdataset"]})
    found = the_set(plan(finished, further))
    assert (found.changes, found.formats) == (False, ["webdataset"])
    assert Synthvlm100k(finished, further, "synthvlm").make()["written"] == ["webdataset"]


def test_a_new_file_is_named_and_not_counted(finished: Store, recipe: Recipe) -> None:
    new = Path(recipe.folder) / "b.tsv"
    new.write_text("one more caption that nobody read yet\thttps://example.com/1.jpg\n")
    try:
        found = plan(finished, recipe)
        assert (sources(found)["cc"].files, sources(found)["cc"].files_to_read) == (2, 1)
        assert sources(found)["cc"].captions == len(CAPTIONS["cc"])
        assert sources(found)["laion"].settled
        assert "unknown before cc is scored" in the_set(found).problem
        RawCaptions(finished, recipe, "cc").make()
        found = plan(finished, recipe)
        assert (sources(found)["cc"].files_to_read, sources(found)["cc"].enter) == (0, 1)
    finally:
        new.unlink()


def test_captions_of_a_file_that_is_gone_leave(finished: Store, recipe: Recipe, edited: Edit, tmp_path: Path) -> None:
    folder = shutil.copytree(recipe.folder, tmp_path / "moved")
    (folder / "b.tsv").write_text("one more caption\thttps://example.com/1.jpg\n")
    moved = edited(recipe, {"folder": str(folder)})
    run(finished, moved)
    (folder / "b.tsv").unlink()
    found = sources(plan(finished, moved))["cc"]
    assert (found.files, found.files_to_read, found.leave, found.settled) == (1, 0, 1, True)


def test_what_a_run_would_refuse_is_said(finished: Store, recipe: Recipe, edited: Edit) -> None:
    train(finished, recipe)
    for change, why in (
        ({"selection.size": 9}, "9 pairs are wanted, 8 can be taken"),
        ({"selection.source_thresholds": {"mean": {"ssim": 1.0}}}, "4 pairs are wanted, 0 can be taken"),
        (
            {"selection.size": 2, "selection.source_thresholds": {"mean": {"ssim": 0.81}}},
            "laion would fail the recipe's thresholds",
        ),
    ):
        found = plan(finished, edited(recipe, change))
        for one in found.sets:
            assert why in one.problem
            assert (one.refused, one.changes) == (True, False)
        assert [one.trains for one in found.variants] == [False, False], "the released set stays"
    taken = edited(recipe, {"name": "other", "release.name": "small"})
    found = plan(finished, taken)
    assert all("belongs to recipe 'small'" in one.problem and one.refused for one in found.sets)
    assert all("belongs to recipe 'small'" in one.problem for one in found.variants)


def test_a_model_that_is_not_there_is_told_with_the_model(finished: Store, recipe: Recipe, edited: Edit) -> None:
    lost = edited(recipe, {"training.vision_tower.id": "/nowhere"})
    found = plan(finished, lost)
    assert all(source.settled for source in found.sources)
    assert all("training.vision_tower.id: no folder /nowhere" in one.problem for one in found.variants)


def test_missing_files_are_told_with_their_source(finished: Store, recipe: Recipe, edited: Edit) -> None:
    lost = edited(recipe, {"sources.cc.files": ["*.gone"]})
    found = plan(finished, lost)
    assert "*.gone matches no file" in sources(found)["cc"].problem
    assert sources(found)["laion"].settled
    assert "unknown before cc is scored" in the_set(found).problem


def test_a_damaged_release_is_told(finished: Store, recipe: Recipe) -> None:
    stage = Synthvlm100k(finished, recipe, "synthvlm")
    name = stage.product.names("data")[0]
    (Path(stage.location) / name).write_bytes(b"broken")
    found = the_set(plan(finished, recipe))
    assert "is not readable" in found.problem
    assert "materialize synthvlm_100k again" in found.problem
    assert (found.refused, found.changes) == (False, None)


def test_planning_loads_no_torch(finished: Store, recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(loading.dumps(recipe))
    code = """
        import sys
        from pathlib import Path
        from harness import GENERATORS, Painter, registered
        from synthvlm_core.plan import plan
        from synthvlm_core.recipe import loading
        from synthvlm_core.store.objects import Store
        with registered(GENERATORS, Painter):
            found = plan(Store(sys.argv[1]), loading.loads(Path(sys.argv[2]).read_text()))
        assert all(source.settled for source in found.sources), found
        assert not {"torch", "diffusers", "transformers"} & set(sys.modules)
    """
    script = tmp_path / "script.py"
    script.write_text("\n".join(line.removeprefix(" " * 8) for line in code.splitlines()))
    paths = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, str(script), finished.root, str(tmp_path / "recipe.json")],
        env={"PYTHONPATH": ":".join(paths), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


EDITS = st.fixed_dictionaries(
    {},
    optional={
        "captions.rules.alphanumeric.min_ratio": st.sampled_from([0.0, 0.64, STRICT, 0.7]),
        "captions.text_form": st.just("bare"),
        "generator.images_per_caption": st.sampled_from([1, 3]),
        "generator.width": st.just(72),
        "scores.ssim.window": st.just(9),
        "scores.ssim": st.none(),
        "selection.size": st.sampled_from([1, 3, 20]),
        "selection.floor": st.sampled_from([{"colourfulness": 30.0}, {"weighted_score": 0.9}]),
        "release.instructions": st.just(["Say what you see."]),
        "seed": st.just(1),
    },
)


def possible(edits: dict[str, Any]) -> dict[str, Any]:
    """Without what contradicts the rest of the recipe."""
    if "scores.ssim" in edits:
        return {
            "selection.weights": {"colourfulness": 1.0},
            **{key: value for key, value in edits.items() if key != "scores.ssim.window"},
        }
    return edits


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=EDITS, second=EDITS)
def test_a_run_does_what_was_planned(
    tmp_path_factory: pytest.TempPathFactory,
    first_run: tuple[Path, Done],
    recipe: Recipe,
    edited: Edit,
    first: dict[str, Any],
    second: dict[str, Any],
) -> None:
    """After any edit of the recipe, and after another one: counts are equal where they say that they are exact, and
    bounds else."""
    shelf, before = first_run
    store = Store(str(shutil.copytree(shelf, tmp_path_factory.mktemp("property") / "store")))
    for edits in (first, second):
        changed = edited(recipe, possible(edits))
        files = listing(store)
        found = plan(store, changed)
        assert listing(store) == files
        refused = {one.name for one in found.sets if one.refused}
        try:
            after = run(store, changed)
        except ValueError:
            assert refused or any(one.changes is None for one in found.sets)
            return
        assert not refused
        for name, source in sources(found).items():
            if source.exact:
                assert source.kept == len(after.kept[name])
                assert source.enter == len(after.kept[name] - before.kept[name])
                assert source.to_draw == after.drawn[name]
                assert source.to_score == after.scored[name]
            else:
                assert source.kept >= len(after.kept[name])
                assert source.to_draw >= after.drawn[name]
                assert all(source.to_score[score] >= count for score, count in after.scored[name].items())
            assert source.to_measure == after.measured[name]
            assert source.leave <= len(before.kept[name] - after.kept[name])
        for one in found.sets:
            if one.changes is not None:
                assert one.released == before.content[one.name]
                assert one.content == after.content[one.name]
                assert one.enter == len(after.pairs[one.name] - before.pairs[one.name])
            assert one.leave <= len(before.pairs[one.name] - after.pairs[one.name])
        before = after
