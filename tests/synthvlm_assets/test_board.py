import io
from pathlib import Path

from rich.console import Console

from synthvlm_assets import board
from synthvlm_assets.board import Board
from synthvlm_assets.progress import noting


def test_a_terminal_shows_a_row_a_run(notes_folder: Path, clock: list[float]) -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=120, color_system=None)
    with Board(notes_folder, console) as shown:
        shown.begin("curate_and_draw", "laion")
        shown.begin("curate_and_draw", "cc")
        noting("synthetic_images", "laion")("images", 0, 4000)
        clock[0] += 100
        noting("scored_pairs", "other")("clip_score", 1, 2)
        noted = noting("synthetic_images", "laion")
        noted("images", 1000, 4000)
        clock[0] += 100
        noted("images", 2000, 4000)
        shown.look()
        shown.end("curate_and_draw", "cc", "curate and draw cc done in 200 s")
    lines = out.getvalue().splitlines()
    row = next(line for line in lines if "laion" in line)
    assert " ".join(row.split()) == "curate and draw laion synthetic_images images 2,000 4,000 10/s 3:20 3:20"
    assert any("cc" in line and "starting" in line for line in lines)
    assert not any("other" in line for line in lines), "no run of ours"
    assert any(line.endswith("curate and draw cc done in 200 s") for line in lines)


def test_elsewhere_a_line_now_and_then(notes_folder: Path, clock: list[float]) -> None:
    out = io.StringIO()
    with Board(notes_folder, Console(file=out, width=40)) as shown:
        shown.begin("curate_and_draw", "laion")
        noted = noting("synthetic_images", "laion")
        for _ in range(50):
            clock[0] += 1
            noted("images", int(clock[0]), 2000)
            shown.look()
    lines = out.getvalue().splitlines()
    assert [line.startswith("  synthetic_images of laion: images ") for line in lines] == [True, True]


def test_a_note_from_before_a_run_began_is_not_its_own(notes_folder: Path, clock: list[float]) -> None:
    noting("synthetic_images", "laion")("images", 1, 2)
    clock[0] += board.LINE_SECONDS
    out = io.StringIO()
    with Board(notes_folder, Console(file=out)) as shown:
        shown.begin("release_set", "laion")
        clock[0] += board.LINE_SECONDS
        shown.look()
    assert out.getvalue() == ""
