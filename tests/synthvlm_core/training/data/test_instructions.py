import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from synthvlm_core.models.vlm import Vlm
from synthvlm_core.training.data.instructions import Instructions
from synthvlm_core.training.data.rows import DataError
from synthvlm_core.training.data.words import Words


@pytest.fixture
def words(tiny_vlm: Vlm) -> Words:
    return Words(tiny_vlm, 128)


@pytest.fixture
def mix_of(tmp_path: Path, words: Words) -> Callable[..., Instructions]:
    """mix_of(rows): a mix of these rows beside a folder with coco/1.png."""

    def make(rows: Any, **more: Any) -> Instructions:
        (tmp_path / "coco").mkdir(exist_ok=True)
        Image.new("RGB", (32, 24), "red").save(tmp_path / "coco" / "1.png")
        path = tmp_path / "mix.json"
        path.write_text(rows if isinstance(rows, str) else json.dumps(rows))
        number = len(list(tmp_path.glob("work*")))
        return Instructions(path, words, work=tmp_path / f"work{number}", **more)

    return make


def talk(*values: str, **more: Any) -> dict[str, Any]:
    turns = [{"from": ("human", "gpt")[at % 2], "value": value} for at, value in enumerate(values)]
    return {"id": "x", "conversations": turns, **more}


def test_a_sound_mix_is_read(mix_of: Callable[..., Instructions], tiny_vlm: Vlm) -> None:
    mix = mix_of(
        [
            talk("what colour?\n<image>", "red", image="coco/1.png"),
            talk("what is <image> in HTML?", "no tag"),
            {"id": 1, "conversations": [{"from": "gpt", "value": "hello"}, *talk("hi", "ho")["conversations"]]},
            talk("one?", "two", "three?"),
        ]
    )
    assert len(mix) == 4
    assert mix.text_only == 3
    first = mix[0]
    assert first.picture is not None
    assert tiny_vlm.tokenizer.decode(first.ids) == (
        "<s>USER: " + "<image>" * 16 + "\nwhat colour? ASSISTANT: red</s>"
    ), "the marker is moved to the front"
    assert mix[1].picture is None
    assert tiny_vlm.tokenizer.convert_tokens_to_ids("<image>") not in mix[1].ids
    assert tiny_vlm.tokenizer.decode(mix[2].ids) == "<s>USER: hi ASSISTANT: ho</s>"
    assert tiny_vlm.tokenizer.decode(mix[3].ids) == "<s>USER: one? ASSISTANT: two</s>"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"id": 1}, "list 'conversations'"),
        ({"conversations": [{"from": "human"}]}, "every turn needs both"),
        (talk("half a character \ud800", "b"), "every turn needs both"),
        (talk("<image> a", "b", image="x" * 10_000), "no picture 'x.*add it or remove"),
        ({"conversations": [{"from": "system", "value": "x"}]}, "rename it to 'human' or 'gpt'"),
        ({"conversations": [*talk("a")["conversations"], *talk("b", "c")["conversations"]]}, "two turns from 'human'"),
        (talk("only a question"), "no question with an answer"),
        (talk("<image> a", "b", image="coco/2.png"), "no picture 'coco/2.png' in .*add it or remove"),
        (talk("<image> a", "b", image="../secret.png"), "no relative path"),
        (talk("<image> a", "b", image="/etc/passwd"), "no relative path"),
        (talk("<image> a", "b", image="coco/../../x.png"), "no relative path"),
        (talk("<image> a", "b", image="file:///x.png"), "no relative path"),
        (talk("<image> a", "b", image=["coco/1.png"]), "no relative path"),
        (talk("a", "b", image="coco/1.png"), "it stands 0 times"),
        (talk("<image><image> a", "b", image="coco/1.png"), "it stands 2 times"),
        (talk("<image> a", "b <image>", image="coco/1.png"), "it stands 2 times"),
        (talk("a", "b", "<image> c", "d", image="coco/1.png"), "in the first question"),
    ],
)
def test_a_bad_row_is_named_with_file_row_and_remedy(
    mix_of: Callable[..., Instructions], row: dict[str, Any], message: str
) -> None:
    with pytest.raises(DataError, match=rf"mix\.json, row 1: .*{message}"):
        mix_of([talk("fine", "fine"), row])


def test_files_that_are_no_mix(mix_of: Callable[..., Instructions]) -> None:
    with pytest.raises(DataError, match="not JSON"):
        mix_of('[{"id": 1, "conversations": [')
    with pytest.raises(DataError, match="empty list"):
        mix_of([])


def test_a_picture_that_does_not_decode_is_named_with_its_row(
    mix_of: Callable[..., Instructions], tmp_path: Path
) -> None:
    mix = mix_of([talk("fine", "fine"), talk("<image> a", "b", image="coco/1.png")])
    (tmp_path / "coco" / "1.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"mix\.json, row 1: the picture cannot be read"):
        mix[1]


def test_pictures_from_an_archive_beside_the_file(mix: Path, words: Words, tmp_path: Path) -> None:
    rows = Instructions(mix, words, work=tmp_path)
    assert rows.text_only == 3
    assert sum(rows[at].picture is not None for at in range(len(rows))) == 45
    with zipfile.ZipFile(mix.with_suffix(".zip")) as archive:
        assert len(archive.namelist()) == 45


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "truncated": lambda path: path.write_bytes(path.read_bytes()[:-20]),
    "altered": lambda path: path.write_bytes(path.read_bytes()[:-30] + b"x" + path.read_bytes()[-29:]),
    "deep": lambda path: path.write_bytes(b"[" * 100_000),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("name", ["instructions.jsonl", "instructions.npy", "instructions.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_working_copy_is_made_again(mix: Path, words: Words, tmp_path: Path, name: str, damage: str) -> None:
    sound = Instructions(mix, words, work=tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"instructions.jsonl", "instructions.npy", "instructions.json"}
    DAMAGE[damage](tmp_path / name)
    again = Instructions(mix, words, work=tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert again[47].ids == sound[47].ids


def test_a_sound_working_copy_is_used_as_it_is(mix: Path, words: Words, tmp_path: Path) -> None:
    Instructions(mix, words, work=tmp_path)
    written = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    Instructions(mix, words, work=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == written


def test_a_working_copy_of_another_mix_is_told_and_made_again(
    words: Words, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "mix.json"
    for answer in ("red", "blue"):
        path.write_text(json.dumps([talk("what colour?", answer)]))
        assert (
            Instructions(path, words, work=tmp_path / "work")[0].ids[-2:-1]
            == words.conversation([("what colour?", answer)], pictured=False)[0][-2:-1]
        )
    assert f"is damaged or of another mix than {path}, and is made again" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 200_000, "after row -1: nested too deeply"),
        ('[{"conversations": ' + "1" * 66_000 + "}]", "after row -1: a number of too many digits"),
        ('[{"id": "' + "a" * 4_000_001 + '"}]', "after row -1: more than 4,000,000 characters"),
        ('[{"conversations": []}, [', "row 0: no question"),
        ("\xff", "not a JSON list"),
    ],
)
def test_what_would_take_much_memory_is_told_with_file_and_row(
    mix_of: Callable[..., Instructions], text: str, message: str
) -> None:
    with pytest.raises(DataError, match=rf"mix\.json, {message}|mix\.json, after row -1: {message}"):
        mix_of(text)
