import io
import time
from pathlib import Path

import pytest
from rich.console import Console

from synthvlm_assets import progress
from synthvlm_assets.progress import Board, Note, notes, noting


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for notes, named as workers find it named."""
    monkeypatch.setenv(progress.FOLDER, str(tmp_path))
    monkeypatch.setattr(progress, "NOTE_SECONDS", 0.0)
    return tmp_path


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What time it is: clock[0]."""
    now = [1000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def test_a_note_knows_rate_and_time_left(folder: Path, clock: list[float]) -> None:
    note = noting("synthetic_images", "laion")
    note("images", 100, 1000)
    assert notes(folder)[0].rate is None, "nothing was done yet"
    clock[0] += 10
    note("images: part 2", 300, 1000)
    [found] = notes(folder)
    assert (found.what, found.done, found.rate, found.left) == ("images", 300, 20.0, 35.0)
    assert found.told == "synthetic_images of laion: images 300 of 1,000, 20/s, 0:35 left"


def test_without_a_folder_nothing_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(progress.FOLDER, raising=False)
    monkeypatch.chdir(tmp_path)
    noting("synthetic_images", "laion")("images", 1, 2)
    assert not list(tmp_path.iterdir())


def test_no_work_fails_for_a_note(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "scored_pairs.laion.json").write_text('{"half": ')
    monkeypatch.setenv(progress.FOLDER, str(folder / "gone"))
    noting("synthetic_images", "laion")("images", 1, 2)
    assert notes(folder) == []


def test_a_terminal_shows_a_row_a_run(folder: Path, clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Board(folder, console) as board:
        board.begin("curate_and_draw", "laion")
        board.begin("curate_and_draw", "cc")
        noting("synthetic_images", "laion")("images", 0, 4000)
        clock[0] += 100
        noting("scored_pairs", "other")("clip_score", 1, 2)
        noted = noting("synthetic_images", "laion")
        noted("images", 1000, 4000)
        clock[0] += 100
        noted("images", 2000, 4000)
        board.look()
        board.end("curate_and_draw", "cc", "curate and draw cc done in 200 s")
    lines = out.getvalue().splitlines()
    row = next(line for line in lines if "laion" in line)
    assert " ".join(row.split()) == "curate and draw laion synthetic_images images 2,000 4,000 10/s 3:20 3:20"
    assert any("cc" in line and "starting" in line for line in lines)
    assert not any("other" in line for line in lines), "no run of ours"
    assert any(line.endswith("curate and draw cc done in 200 s") for line in lines)


def test_elsewhere_a_line_now_and_then(folder: Path, clock: list[float]) -> None:
    out = io.StringIO()
    with Board(folder, Console(file=out, width=40)) as board:
        board.begin("curate_and_draw", "laion")
        noted = noting("synthetic_images", "laion")
        for _ in range(50):
            clock[0] += 1
            noted("images", int(clock[0]), 2000)
            board.look()
    lines = out.getvalue().splitlines()
    assert [line.startswith("  synthetic_images of laion: images ") for line in lines] == [True, True]


def test_a_note_from_before_a_run_began_is_not_its_own(folder: Path, clock: list[float]) -> None:
    noting("synthetic_images", "laion")("images", 1, 2)
    clock[0] += progress.LINE_SECONDS
    out = io.StringIO()
    with Board(folder, Console(file=out)) as board:
        board.begin("release_set", "laion")
        clock[0] += progress.LINE_SECONDS
        board.look()
    assert out.getvalue() == ""


@pytest.mark.parametrize(("rate", "told"), [(1234.5, "1,234/s"), (2.345, "2.3/s"), (0.05, "3.0/min")])
def test_rates_are_told_as_a_person_would(rate: float, told: str) -> None:
    assert f", {told}," in Note("scored_pairs", "cc", "ssim", 1, 10_000, rate, 0.0).told
