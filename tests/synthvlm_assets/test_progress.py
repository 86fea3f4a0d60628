from pathlib import Path

import pytest

from synthvlm_assets import progress
from synthvlm_assets.progress import Note, notes, noting


def test_a_note_knows_rate_and_time_left(notes_folder: Path, clock: list[float]) -> None:
    note = noting("synthetic_images", "laion")
    note("images", 100, 1000)
    assert notes(notes_folder)[0].rate is None, "nothing was done yet"
    clock[0] += 10
    note("images: part 2", 300, 1000)
    [found] = notes(notes_folder)
    assert (found.what, found.done, found.rate, found.left) == ("images", 300, 20.0, 35.0)
    assert found.told == "synthetic_images of laion: images 300 of 1,000, 20/s, 0:35 left"


def test_without_a_folder_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    noting("synthetic_images", "laion")("images", 1, 2)
    assert not list(tmp_path.iterdir())


def test_no_work_fails_for_a_note(notes_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (notes_folder / "scored_pairs.laion.json").write_text('{"half": ')
    monkeypatch.setenv(progress.FOLDER, str(notes_folder / "gone"))
    noting("synthetic_images", "laion")("images", 1, 2)
    assert notes(notes_folder) == []


@pytest.mark.parametrize(("rate", "told"), [(1234.5, "1,234/s"), (2.345, "2.3/s"), (0.05, "3.0/min")])
def test_rates_are_told_as_a_person_would(rate: float, told: str) -> None:
    assert f", {told}," in Note("scored_pairs", "cc", "ssim", 1, 10_000, rate, 0.0).told
