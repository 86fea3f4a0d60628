"""A mix is looked at whole: all that is wrong is told in one go, and what was decoded once is not decoded again."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from synthvlm_core.store.objects import Store
from synthvlm_core.training.data import mixes
from synthvlm_core.training.data.mixes import TOLD, Mix, refuse_unsound
from synthvlm_core.training.data.rows import DataError

Rows = list[Any]


def row(picture: str | None = None) -> dict[str, Any]:
    turns = [{"from": "human", "value": "<image> what?" if picture is not None else "what?"}]
    turns.append({"from": "gpt", "value": "that"})
    return {"conversations": turns, **({} if picture is None else {"image": picture})}


@pytest.fixture
def mix_of(tmp_path: Path) -> Callable[[Rows], Path]:
    """mix_of(rows): a mix of these rows beside p/0.png to p/4.png."""

    def write(rows: Rows) -> Path:
        (tmp_path / "p").mkdir(exist_ok=True)
        for number in range(5):
            Image.new("RGB", (16, 16), (number, 0, 0)).save(tmp_path / "p" / f"{number}.png")
        (tmp_path / "mix.json").write_text(json.dumps(rows))
        return tmp_path / "mix.json"

    return write


def told(mix: Path, store: Store) -> str:
    with pytest.raises(DataError) as caught:
        refuse_unsound(mix, store, threads=2)
    return str(caught.value)


def test_twenty_missing_pictures_are_told_in_one_go(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row("p/0.png"), *(row(f"p/gone-{number}.png") for number in range(20)), row()])
    first, *lines = told(mix, store).splitlines()
    assert first == f"{mix}: 20 rows cannot be used:"
    assert lines[0] == f"  row 1: no picture 'p/gone-0.png' in {mix.parent}; add it or remove the row"
    assert lines[-1].startswith("  row 20: no picture 'p/gone-19.png'")
    assert len(lines) == 20


def test_rows_of_all_kinds_are_told_and_beyond_a_limit_counted(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row("p/0.png"), {"id": 1}, row(""), *(row("p/gone.png") for _ in range(TOLD))])
    first, *lines = told(mix, store).splitlines()
    assert first == f"{mix}: {TOLD + 2} rows cannot be used:"
    assert lines[0] == "  row 1: not an object with a list 'conversations'; see LLaVA's instruction JSON"
    assert lines[1] == "  row 2: 'image' is empty; name a picture, or leave 'image' out of a row of text alone"
    assert lines[-1] == "  and 2 more"
    assert len(lines) == TOLD + 1


def test_pictures_that_do_not_decode_are_told_in_one_go(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row(f"p/{number}.png") for number in range(5)])
    whole = (mix.parent / "p" / "1.png").read_bytes()
    (mix.parent / "p" / "1.png").write_bytes(whole[:-20])
    (mix.parent / "p" / "3.png").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    first, truncated, pointer = told(mix, store).splitlines()
    assert first == f"{mix}: 2 rows cannot be used:"
    assert truncated.startswith("  row 1: the picture cannot be read (")
    assert truncated.endswith("; replace it or remove the row")
    assert pointer == "  row 3: the picture is a pointer of Git LFS, not the file itself; fetch it: git lfs pull"


def test_one_bad_row_is_told_as_it_is(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row(), row("p/gone.png")])
    assert told(mix, store) == f"{mix}, row 1: no picture 'p/gone.png' in {mix.parent}; add it or remove the row"


def test_what_is_no_list_to_its_end_is_told_with_the_rows_before(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row("p/gone.png"), row()])
    mix.write_text(mix.read_text()[:-1])
    _, first, second = told(mix, store).splitlines()
    assert first.startswith("  row 0: no picture")
    assert second == "  row 2: it does not end; it must be one JSON list of rows"
    mix.write_text("[]")
    assert "an empty list; there is nothing to train on" in told(mix, store)


def decoded(mix: Path, store: Store) -> list[int]:
    """Of how many pictures it was told that they are looked at."""
    seen: list[tuple[str, int, int]] = []
    refuse_unsound(mix, store, threads=1, progress=lambda *report: seen.append(report))
    return [total for what, _, total in seen if what == "instructions: pictures"]


def test_a_sound_mix_is_decoded_once_until_it_changes(mix_of: Callable[[Rows], Path], store: Store) -> None:
    mix = mix_of([row(f"p/{number}.png") for number in range(4)])
    assert decoded(mix, store) == [4]
    assert decoded(mix, store) == []
    assert store.files(store.path("checked", "instructions"), ".json") == [f"{Mix(mix).key}.json"]
    Image.new("RGB", (20, 20)).save(mix.parent / "p" / "2.png")
    assert decoded(mix, store) == [4], "a picture changed"
    mix_of([row("p/4.png")])
    assert decoded(mix, store) == [1], "the rows changed"


def test_a_sample_is_taken_evenly(mix_of: Callable[[Rows], Path]) -> None:
    mix = Mix(mix_of([row(f"p/{number}.png") for number in range(5)]))
    assert mix.sample(3) == ["p/0.png", "p/2.png", "p/4.png"]
    assert mix.sample(9) == [f"p/{number}.png" for number in range(5)]
    assert Mix(mix_of([row()])).sample(3) == []


def test_it_is_told_how_far_it_is(
    mix_of: Callable[[Rows], Path], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixes, "_REPORTED", 2)
    seen: list[tuple[str, int, int]] = []
    mix = mix_of([row(f"p/{number}.png") for number in range(5)])
    refuse_unsound(mix, store, threads=1, progress=lambda *report: seen.append(report))
    assert seen[:2] == [("instructions: 0 rows read", 0, 1), ("instructions: 2 rows read", 0, 1)]
    assert seen[-3:] == [("instructions: pictures", done, 5) for done in (0, 2, 4)]
