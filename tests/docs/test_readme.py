"""README.md, followed literally where it leads to own captions: the recipe, the two commands, the snippet."""

import csv
import re
import textwrap
from pathlib import Path

import pytest
from typer.testing import CliRunner

from synthvlm_core import checking
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.cli import app
from synthvlm_core.parts.part import kinds
from synthvlm_core.recipe import loading
from synthvlm_core.store.objects import Store

ROOT = Path(__file__).parents[2]
DRAWABLE = [
    "a purple triangle right in the middle of the picture , flat design",
    "a large purple square in the upper part of the picture isolated on a grey background",
]
SHOUTING = "buy now buy now buy now buy now buy now buy now"


def blocks() -> list[str]:
    """The indented blocks of the README, without their indentation."""
    found = re.findall(r"(?:^(?: {4}.*)?\n)+", (ROOT / "README.md").read_text(), re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found if block.strip()]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the README's `mine.yaml` and a spreadsheet of captions, and oneself in it."""
    [recipe] = [block for block in blocks() if block.startswith("extends: ")]
    (tmp_path / "mine.yaml").write_text(recipe)
    (tmp_path / "captions").mkdir()
    with (tmp_path / "captions" / "some.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "caption", "link"])
        rows.writerows([n, text, f"https://example.com/{n}.jpg"] for n, text in enumerate([*DRAWABLE, SHOUTING, ""]))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHVLM_STORE", raising=False)
    return tmp_path


def test_the_recipe_loads_and_nothing_is_wrong_with_it(home: Path) -> None:
    recipe = loading.load("mine.yaml")
    assert (recipe.name, recipe.selection.size, [source.name for source in recipe.sources]) == ("mine", 100, ["own"])
    assert recipe.generator == loading.load("miniature").generator
    assert checking.problems(loading.read("mine.yaml")) == []


def test_the_commands_run(home: Path) -> None:
    lines = [line for block in blocks() for line in block.splitlines() if line.startswith(".venv/bin/synthvlm ")]
    commands = [line.partition("#")[0].split()[1:] for line in lines]
    assert commands == [["check", "mine.yaml"], ["plan", "mine.yaml"]]
    for command in commands:
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
    assert "own" in result.output
    assert not (home / "store").exists(), "asking stores nothing"


def test_the_recipe_names_every_format(home: Path) -> None:
    told = re.search(r"format: (\w+) +# or (.+)", (home / "mine.yaml").read_text())
    assert told
    assert sorted([told[1], *told[2].split(", ")]) == sorted(kinds("synthvlm_core.captions.readers"))


def test_captions_and_store_in_a_bucket(home: Path, s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """`s3://…` in `files`, and SYNTHVLM_STORE as the README sets it."""
    bucket = s3_store.root.partition("/")[0]
    captions = (home / "captions" / "some.csv").read_bytes()
    s3_store.fs.pipe_file(f"{bucket}/captions/some.csv", captions)
    recipe = (home / "mine.yaml").read_text()
    assert "[captions/*.csv]" in recipe
    assert "s3://…" in recipe
    (home / "mine.yaml").write_text(recipe.replace("[captions/*.csv]", f"[s3://{bucket}/captions/*.csv]"))
    told = re.search(r"SYNTHVLM_STORE=s3://bucket/(\S+)", "".join(blocks()))
    assert told
    monkeypatch.setenv("SYNTHVLM_STORE", f"s3://{bucket}/{told[1]}")
    for command in ("check", "plan"):
        result = CliRunner().invoke(app, [command, "mine.yaml"])
        assert result.exit_code == 0, result.output
    stage = RawCaptions(Store(f"s3://{bucket}/{told[1]}"), loading.load("mine.yaml"), "own")
    assert (stage.make()["rows"], stage.changed()) == (3, None)
    assert "own" in CliRunner().invoke(app, ["plan", "mine.yaml"]).output


PLANTED = {
    "format: csv": ("format: cvs", "sources.0.format: allowed here: laion, cc3m, ", "did you mean 'csv'?"),
    "captions/*.csv": ("captions/*.cvs", "captions/*.cvs matches no file", "Put the files there or correct the recipe"),
    "text: caption": (
        "text: captions",
        "its header has no column 'captions'; it has 'id', 'caption', 'link'",
        "Correct",
    ),
    "size: 100": ("siez: 100", "selection.siez: unknown key; allowed here: size", "did you mean 'size'?"),
    "extends: miniature": ("extends: minature", "extends: no recipe 'minature'", "did you mean 'miniature'?"),
    "name: own": ("name: My Own", "sources.0.name: a name is small letters a to z and digits", "(given: 'My Own')"),
}


@pytest.mark.parametrize("words", PLANTED)
def test_a_mistake_in_it_is_found_with_line_and_remedy(home: Path, words: str) -> None:
    wrong, *said = PLANTED[words]
    recipe = (home / "mine.yaml").read_text()
    assert recipe.count(words) == 1
    line = recipe[: recipe.index(words)].count("\n") + 1
    (home / "mine.yaml").write_text(recipe.replace(words, wrong))
    result = CliRunner().invoke(app, ["check", "mine.yaml"])
    assert result.exit_code == 1
    assert re.search(rf"mine\.yaml:{line}: ", result.output), result.output
    for part in said:
        assert part in result.output


def test_the_captions_are_read(home: Path) -> None:
    stage = RawCaptions(Store("store"), loading.load("mine.yaml"), "own")
    manifest = stage.make()
    assert (manifest["rows"], manifest["quarantined"], manifest["reasons"]) == (3, 1, {"caption is empty": 1})
    rows = [row for part in stage.captions(["text", "image_url"]) for row in part.to_pylist()]
    assert rows[1] == {"text": DRAWABLE[1], "image_url": "https://example.com/1.jpg"}


@pytest.mark.model
def test_the_snippet_runs(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It filters with all the miniature's rules, the judge among them."""
    exec(blocks()[-1], {})
    rejected = FilteredCaptions(Store("store"), loading.load("mine.yaml"), "own").manifest["rejected_by_rule"]
    assert capsys.readouterr().out == f"{rejected}\n"
    assert sum(rejected.values()) == 1
    kept = FilteredCaptions(Store("store"), loading.load("mine.yaml"), "own").kept(["text"])
    assert sorted(text for part in kept for text in part["text"].to_pylist()) == sorted(DRAWABLE)
