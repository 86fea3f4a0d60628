import json
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from synthvlm_core.evaluation.benchmarks.questions import Questions
from synthvlm_core.parts.part import Context
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.stages import context
from synthvlm_core.training.data.rows import DataError

ROW: dict[str, Any] = {
    "id": "1",
    "picture": "a.png",
    "kind": "colour",
    "question": "what colour?",
    "choices": ["red", "blue"],
    "truth": ["red"],
}


@pytest.fixture
def about() -> Context:
    return Context(folder="/", seed=0, threads=1)


@pytest.fixture
def benchmark_of(tmp_path: Path) -> Callable[..., Questions]:
    """benchmark_of(rows): a file of these rows, beside it pictures/a.png and pictures/b.png."""

    def make(*rows: Any, **section: Any) -> Questions:
        (tmp_path / "pictures").mkdir(exist_ok=True)
        for name, colour in (("a", "red"), ("b", "blue")):
            Image.new("RGB", (8, 6), colour).save(tmp_path / "pictures" / f"{name}.png")
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "own.jsonl").write_text("\n".join(lines))
        return Questions(benchmark="questions", file=str(tmp_path / "own.jsonl"), **section)

    return make


def told(pictures: Sequence[Image.Image | None], questions: Sequence[str], progress: Progress) -> list[str]:
    """Stands in for a checkpoint: says the colour of the first pixel."""
    names = {(255, 0, 0): "Red.", (0, 0, 255): "blue"}
    said = []
    for number in range(len(questions)):
        picture = pictures[number]
        said.append("nothing" if picture is None else names[picture.getpixel((0, 0))])  # type: ignore[index]
    return said


def test_questions_are_asked_with_their_pictures_and_graded(
    benchmark_of: Callable[..., Questions], about: Context
) -> None:
    benchmark = benchmark_of(
        ROW,
        {**ROW, "id": "2", "picture": "b.png", "split": "hard"},
        "",
        {"id": "3", "picture": None, "kind": "open", "question": "why?"},
    )
    assert benchmark.problem(about) is None
    red, blue, why = benchmark.answers(Path("/"), told, about, silent)
    assert (red.answer, red.right, red.split, red.choices) == ("Red.", 1.0, "all", ("red", "blue"))
    assert (blue.answer, blue.right, blue.split) == ("blue", 0.0, "hard")
    assert (why.answer, why.right, why.picture, why.truth, why.choices) == ("nothing", None, None, (), ())
    data = benchmark.picture("b.png", about)
    assert data == Path(benchmark.file).with_name("pictures").joinpath("b.png").read_bytes()


def test_a_limit_asks_the_first_of_each_split(benchmark_of: Callable[..., Questions], about: Context) -> None:
    rows = [{**ROW, "id": str(number), "split": "ab"[number % 2]} for number in range(7)]
    assert [found.id for found in benchmark_of(*rows, limit=2).questions(about)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[" + "1" * 66_000 + "]", "a number of too many digits"),
        ('"' + "a" * 1_000_000, "more than 1,000,000 bytes in a line"),
        ("3", "a question is an object"),
        ({**ROW, "answer": "red"}, "unknown key 'answer'; a question has id, picture"),
        ({**ROW, "id": 2}, "'id' must be a text"),
        ({**ROW, "id": "2", "question": "half a character \ud800"}, "'question' must be a text"),
        ({**ROW, "id": "1"}, r"id '1' stands at .*own\.jsonl:1 already"),
        ({**ROW, "id": "2", "question": " "}, "'question' must be a text"),
        ({key: value for key, value in ROW.items() if key != "kind"}, "'kind' must be a text"),
        ({key: value for key, value in ROW.items() if key != "picture"}, "no key 'picture'; .*null"),
        ({**ROW, "id": "2", "picture": "../secret.png"}, "picture .* is no relative path"),
        ({**ROW, "id": "2", "picture": "/etc/passwd"}, "picture .* is no relative path"),
        ({**ROW, "id": "2", "picture": 7}, "picture .* is no relative path"),
        ({**ROW, "id": "2", "truth": "red"}, "'truth' must be a list of texts"),
        ({**ROW, "id": "2", "choices": [1]}, "'choices' must be a list of texts"),
        ({**ROW, "id": "2", "truth": ["green"]}, "none of the choices is true; add 'green'"),
        ({**ROW, "id": "2", "split": ""}, "'split' must be a text"),
    ],
)
def test_a_bad_line_is_named_with_file_line_and_remedy(
    benchmark_of: Callable[..., Questions], about: Context, row: Any, message: str
) -> None:
    benchmark = benchmark_of(ROW, "", row)
    with pytest.raises(DataError, match=rf"own\.jsonl:3: {message}"):
        benchmark.questions(about)
    assert "own.jsonl:3" in str(benchmark.problem(about))


def test_bad_pictures_are_named_with_file_line_and_remedy(
    benchmark_of: Callable[..., Questions], about: Context
) -> None:
    benchmark = benchmark_of(ROW, {**ROW, "id": "2", "picture": "c.png"})
    assert "own.jsonl:2: no picture 'c.png' in" in str(benchmark.problem(about))
    with pytest.raises(DataError, match=r"own\.jsonl:2: no picture 'c\.png' in .*add it"):
        benchmark.answers(Path("/"), told, about, silent)
    Path(benchmark.file).with_name("pictures").joinpath("c.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"own\.jsonl:2: the picture cannot be read"):
        benchmark.answers(Path("/"), told, about, silent)


def test_all_that_is_wrong_is_told_before_anything_is_asked(
    benchmark_of: Callable[..., Questions], about: Context
) -> None:
    gone = [{**ROW, "id": f"gone {number}", "picture": f"gone-{number}.png"} for number in range(20)]
    benchmark = benchmark_of(*gone, {**ROW, "picture": "bad.png"})
    Path(benchmark.file).with_name("pictures").joinpath("bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError) as caught:
        benchmark.answers(Path("/"), never_asked, about, silent)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{benchmark.file}: 21 pictures cannot be used:"
    assert [line.split(": ")[0] for line in lines] == [f"  {benchmark.file}:{number}" for number in range(1, 22)]
    assert "no picture 'gone-0.png' in" in lines[0]
    assert "the picture cannot be read" in lines[20]
    assert benchmark.problem(about) == str(caught.value)
    lines_too = benchmark_of("{", "3", ROW)
    assert f"{lines_too.file}: 2 lines cannot be used:\n  {lines_too.file}:1: not JSON" in str(lines_too.problem(about))


def never_asked(pictures: Any, questions: Any, progress: Progress) -> list[str]:
    raise AssertionError("asked")


def test_files_that_are_none(benchmark_of: Callable[..., Questions], about: Context, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"own\.jsonl: no question; give one a line"):
        benchmark_of().questions(about)
    missing = Questions(benchmark="questions", name="mine", file=str(tmp_path / "no.jsonl"))
    assert str(missing.problem(about)) == f"file: no file {tmp_path}/no.jsonl; give JSON lines of questions"


def test_the_definition_follows_what_is_asked_and_not_where_it_lies(
    benchmark_of: Callable[..., Questions], about: Context, tmp_path: Path
) -> None:
    benchmark = benchmark_of(ROW, {**ROW, "id": "2", "picture": "b.png"})
    base = benchmark.definition(about, 8)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    with zipfile.ZipFile(moved / "pictures.zip", "w") as archive:
        for name in ("a.png", "b.png"):
            archive.write(tmp_path / "pictures" / name, name)
    shutil.copy(tmp_path / "own.jsonl", moved / "renamed.jsonl")
    there = Questions(benchmark="questions", name="renamed", file=str(moved / "renamed.jsonl"))
    assert there.definition(about, 8) == base
    assert there.definition(about, 9) != base
    assert benchmark.model_copy(update={"limit": 1}).definition(about, 8) != base
    Image.new("RGB", (8, 6), "green").save(tmp_path / "pictures" / "b.png")
    changed = benchmark.definition(about, 8)
    assert changed != base, "the pictures count"
    assert benchmark_of(ROW).definition(about, 8) not in (base, changed)


def test_the_miniatures_benchmark_is_whole() -> None:
    recipe: Recipe = loading.load("miniature")
    benchmark = recipe.evaluation.benchmarks[0]
    assert isinstance(benchmark, Questions)
    assert benchmark.problem(context(recipe)) is None
    found = benchmark.questions(context(recipe))
    assert len(found) == 1200
    assert [question.id for question in found[:800]] == [f"test-{number:05d}" for number in range(800)]
    assert [question.id for question in found[800:]] == [f"held_out-{number:05d}" for number in range(400)]
