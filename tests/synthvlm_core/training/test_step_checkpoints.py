"""Damaged and forged step checkpoints: the one before is taken, or training begins anew, to the same weights."""

import json
import logging
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Killed, killed_at
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_vlm import VARIANT, release

from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store
from synthvlm_core.training import step_checkpoints
from synthvlm_core.training.aligned import ProjectorCheckpoint
from synthvlm_core.training.step_checkpoints import MARKER, TRAINED

pytestmark = pytest.mark.model

FILES = [TRAINED, "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json", MARKER]
DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "altered": lambda path: path.write_bytes(path.read_bytes()[:-1] + bytes([path.read_bytes()[-1] ^ 1])),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.rename(path.parent.parent / path.name), path.symlink_to(f"../{path.name}")),
}


@pytest.fixture(scope="module")
def killed(tiny_recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a set, and the work folder of a run that was killed after its fifth of six steps."""
    folder = tmp_path_factory.mktemp("killed")
    store = Store(str(folder))
    release(store, tiny_recipe, "synthvlm")
    with pytest.raises(Killed):
        ProjectorCheckpoint(store, tiny_recipe, VARIANT, save_steps=2).make(killed_at(5))
    return folder


@pytest.fixture
def left(killed: Path, tmp_path: Path) -> Path:
    """A copy of the store of the killed run."""
    return shutil.copytree(killed, tmp_path / "left")


def work_of(store: Path) -> Path:
    [newest] = store.glob("work/training/*/checkpoint-4")
    return newest.parent


def shapes(checkpoint: Path) -> dict[str, tuple[int, ...]]:
    with safe_open(checkpoint / TRAINED, framework="pt") as stored:
        return {name: tuple(stored.get_slice(name).get_shape()) for name in stored.keys()}  # noqa: SIM118


def test_what_is_left_are_two_sound_step_checkpoints(left: Path) -> None:
    work = work_of(left)
    assert sorted(path.name for path in work.glob("checkpoint-*")) == ["checkpoint-2", "checkpoint-4"]
    assert sorted(path.name for path in (work / "checkpoint-4").iterdir()) == sorted(FILES)
    assert step_checkpoints.newest(work, shapes(work / "checkpoint-4")) == work / "checkpoint-4"


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_the_one_before_is_taken_whatever_is_wrong_with_which_file(
    left: Path, name: str, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    DAMAGE[damage](work / "checkpoint-4" / name)
    with caplog.at_level(logging.WARNING):
        assert step_checkpoints.newest(work, trained) == work / "checkpoint-2"
    assert not (work / "checkpoint-4").exists()
    if (name, damage) != (MARKER, "missing"):  # never finished, as every kill leaves some
        assert f"{work / 'checkpoint-4'} cannot be gone on from" in caplog.text
        assert name in caplog.text or damage == "missing"


def forged(checkpoint: Path) -> None:
    """Vouch again, as a forger would."""
    (checkpoint / MARKER).unlink()
    step_checkpoints.mark(checkpoint)


class Evil:
    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return (exec, (f"import pathlib; pathlib.Path({str(self.place)!r}).touch()",))


@pytest.mark.parametrize("name", ["optimizer.pt", "scheduler.pt", "rng_state.pth"])
@pytest.mark.parametrize("way", ["pickle", "torch"])
def test_a_forged_pickle_runs_nothing(left: Path, tmp_path: Path, name: str, way: str) -> None:
    was_run = tmp_path / "was-run"
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    path = work / "checkpoint-4" / name
    if way == "pickle":
        path.write_bytes(pickle.dumps(Evil(was_run)))
    else:
        torch.save(Evil(was_run), path)
    forged(work / "checkpoint-4")
    assert step_checkpoints.newest(work, trained) == work / "checkpoint-2"
    assert not was_run.exists()
    if way == "pickle":
        pickle.loads(pickle.dumps(Evil(was_run)))
        assert was_run.exists(), "whoever unpickles it does run it"


@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (lambda folder: save_file({"other": torch.zeros(1)}, folder / TRAINED), "holds other parameters"),
        (lambda folder: (folder / "trainer_state.json").write_text('{"global_step": 3}'), "is of step 3"),
        (lambda folder: (folder / "trainer_state.json").write_text("[1]"), "TypeError"),
        (lambda folder: (folder / "trainer_state.json").write_text("["), "JSONDecodeError"),
        (lambda folder: (folder / "optimizer.pt").unlink(), "lacks files that a trainer needs"),
    ],
)
def test_vouched_files_that_no_trainer_takes_are_not_taken(
    left: Path, forge: Callable[[Path], object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    forge(work / "checkpoint-4")
    forged(work / "checkpoint-4")
    with caplog.at_level(logging.WARNING):
        assert step_checkpoints.newest(work, trained) == work / "checkpoint-2"
    assert message in caplog.text


@pytest.mark.parametrize(
    "marker", ["[]", "{}", '{"files": 3}', '{"files": {"../x": 1}}', "[" * 100_000, '"' * 2_000_000, "\xff"]
)
def test_a_marker_of_another_shape_vouches_for_nothing(left: Path, marker: str) -> None:
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    (work / "checkpoint-4" / MARKER).write_text(marker, encoding="latin-1")
    assert step_checkpoints.newest(work, trained) == work / "checkpoint-2"


def test_a_file_that_nobody_vouches_for_is_not_taken_along(left: Path) -> None:
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    (work / "checkpoint-4" / "scaler.pt").write_bytes(b"foreign")
    assert step_checkpoints.newest(work, trained) == work / "checkpoint-2"


def test_what_is_no_folder_of_a_step_does_not_stop_a_run(left: Path) -> None:
    work = work_of(left)
    trained = shapes(work / "checkpoint-4")
    (work / "checkpoint-9").write_text("a file")
    (work / "checkpoint-8").symlink_to(work / "checkpoint-4")
    (work / "checkpoint-new").mkdir()
    assert step_checkpoints.newest(work, trained) == work / "checkpoint-4"
    assert (work / "checkpoint-4" / TRAINED).is_file(), "of a link only the link is removed"
    assert not (work / "checkpoint-9").exists()


def test_a_run_falls_back_and_then_begins_anew_with_the_same_weights(
    left: Path, tiny_recipe: Recipe, tmp_path: Path
) -> None:
    clean = Store(str(tmp_path / "clean"))
    release(clean, tiny_recipe, "synthvlm")
    whole = ProjectorCheckpoint(clean, tiny_recipe, VARIANT).make()
    both = shutil.copytree(left, tmp_path / "both")
    for store, resumed in ((left, 2), (both, 0)):
        for number in (4, 2) if resumed == 0 else (4,):
            optimizer = work_of(store).joinpath(f"checkpoint-{number}", "optimizer.pt")
            optimizer.write_bytes(optimizer.read_bytes()[:100])
        made = ProjectorCheckpoint(Store(str(store)), tiny_recipe, VARIANT, save_steps=2).make()
        assert made["resumed_from"] == resumed
        for told in ("losses", "learning_rates", "content_hash"):
            assert made[told] == whole[told], "bit for bit"


def test_the_marker_names_sizes_and_hashes(left: Path) -> None:
    told = json.loads((work_of(left) / "checkpoint-4" / MARKER).read_text())
    assert set(told["files"]) == set(FILES) - {MARKER}
    assert all(set(proof) == {"size", "sha256"} for proof in told["files"].values())
