"""What a person sees of `synthvlm check` and `synthvlm plan`."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from harness import GENERATORS, PAINTER, Painter, filter_captions, registered
from typer.testing import CliRunner

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.cli import app
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.recipe import documents, loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store

MINIATURE = (documents.PRESETS / "miniature.yaml").read_text()


def synthvlm(*words: object, **environment: str) -> Result:
    """What the command prints; a traceback fails the test."""
    found = CliRunner().invoke(app, [str(word) for word in words], env=environment)
    assert found.exception is None or isinstance(found.exception, SystemExit), found.exc_info
    return found


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SYNTHVLM_STORE", raising=False)


def test_without_words_it_says_what_it_can_do() -> None:
    said = synthvlm().output
    assert re.search(r"check +Tell what is wrong with a recipe\.", said)
    assert re.search(r"plan +Count what a recipe would do to a store\.", said)
    assert re.search(r"thresholds +Count what other thresholds would keep\.", said)


def test_the_miniature_can_run_here() -> None:
    found = synthvlm("check", "miniature")
    assert (found.exit_code, found.output) == (0, "miniature: can run here\n")


def test_the_paper_cannot_run_here_and_says_why() -> None:
    found = synthvlm("check", "paper")
    assert found.exit_code == 1
    mended, left_out, fetched, end = found.output.split("\n\n")
    assert mended.startswith("To be mended before anything runs:\n")
    assert len(mended.splitlines()) == 1 + 8
    assert "sources.0.files.0: source 'datacomp': data/datacomp/captions/*.parquet matches no file" in mended
    assert left_out.startswith("Left out by this version")
    assert len(left_out.splitlines()) == 1 + 2
    assert re.search(r"paper\.yaml:45: captions\.rules\.3\.model: no file .*/data/kenlm/en\.arpa\.bin on this", mended)
    assert fetched.startswith("Fetched from the model hub when it is needed:\n")
    assert len(fetched.splitlines()) == 1 + 9
    assert end == (
        "paper: cannot run yet, 8 things are to be mended\n"
        "To name your own files, write a recipe that begins with `extends: paper`.\n"
    )


def test_the_ten_tasks_of_one_harness_are_one_line_with_one_command() -> None:
    lines = [line for line in synthvlm("check", "paper").output.splitlines() if "lmms_eval" in line]
    tasks = [benchmark.task for benchmark in loading.load("paper").evaluation.benchmarks]  # type: ignore[attr-defined]
    assert len(lines) == 1
    assert re.search(r"paper\.yaml:184-193: evaluation\.benchmarks: lmms_eval: needs data", lines[0])
    assert f"--tasks {','.join(tasks)} --batch_size 1" in lines[0]


def test_paths_below_the_working_directory_are_relative(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: miniature\nname: mine\ntraining: {instructions: gone.json}\n")
    found = synthvlm("check", "mine.yaml")
    assert found.exit_code == 1
    assert found.output == (
        "To be mended before anything runs:\n"
        "  mine.yaml:3: training.instructions: no file gone.json; give one, or correct the name\n"
        "\n"
        "mine: cannot run yet, 1 thing is to be mended\n"
    )


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("rule: alphanumeric", "rule: alfanumeric", ["captions.rules.0.rule", "alphanumeric", "'alfanumeric'"]),
        ("kind: diffusers", "kind: diffuser", ["generator.kind", "diffusers", "'diffuser'"]),
        ("window: 7", "window: 8", ["scores.1", "window must be odd, not 8"]),
        ("weights: {clip_score", "weights: {clip", ["selection.weights", "'clip'", "clip_score"]),
        ("floor: {clip_score", "floor: {clip", ["selection.floor", "'clip'", "clip_score"]),
        ("selection: random}", "selection: best}", ["training.variants.1.selection", "'best'", "random"]),
        ("steps: 8", "stepz: 8", ["generator.stepz", "unknown key", "allowed here", "steps"]),
        ("steps: 8", "steps: [8", ["not a readable recipe", "expected ',' or ']'"]),
        ("steps: 8", "\tsteps: 8", ["not a readable recipe", "'\\t' that cannot start any token"]),
        ("name: miniature", "extends: nothing\nname: mine", ["extends", "no recipe 'nothing'", "miniature, paper"]),
        ("name: miniature", "extends: mine.yaml\nname: mine", ["extends", "extends itself"]),
    ],
)
def test_a_recipe_that_does_not_load_is_told_with_file_line_and_key(
    tmp_path: Path, old: str, new: str, said: list[str]
) -> None:
    assert old in MINIATURE
    (tmp_path / "mine.yaml").write_text(MINIATURE.replace(old, new, 1))
    line = MINIATURE[: MINIATURE.index(old)].count("\n") + 1
    for command in ("check", "plan"):
        found = synthvlm(command, "mine.yaml")
        assert found.exit_code == 1
        assert command == "check" or found.stdout == ""
        place = re.search(r"^ *mine\.yaml:(\d+): ", found.output, re.MULTILINE)
        assert place, found.output
        assert abs(int(place[1]) - line) <= 3, found.output
        for words in said:
            assert words in found.output


def test_several_mistakes_are_told_at_once(tmp_path: Path) -> None:
    text = (
        MINIATURE.replace("steps: 8", "stepz: 8").replace("window: 7", "window: 8").replace("size: 800", "size: lots")
    )
    (tmp_path / "mine.yaml").write_text(text)
    for command in ("check", "plan"):
        said = synthvlm(command, "mine.yaml").output
        for words in ("generator.stepz", "generator.steps: ", "window must be odd", "selection.size"):
            assert words in said


def test_no_recipe_at_all() -> None:
    found = synthvlm("check", "papper")
    assert found.exit_code == 1
    assert found.stderr == "no recipe 'papper': neither a preset (miniature, paper) nor a file; did you mean 'paper'?\n"


@pytest.fixture
def painted(small_recipe: Recipe, edited: Callable[..., Recipe], tmp_path: Path) -> Iterator[Recipe]:
    """The small recipe with a generator that paints and a score without a model, as the file mine.json."""
    with registered(GENERATORS, Painter):
        recipe = edited(
            small_recipe,
            {
                "generator": PAINTER,
                "scores": [{"score": "colourfulness"}],
                "selection.weights": {"colourfulness": 1.0},
                "selection.size": 4,
                "release.formats": ["huggingface"],
                "training.variants.synthvlm-mini.automatic": True,
            },
        )
        write(recipe, tmp_path)
        yield recipe


def write(recipe: Recipe, folder: Path) -> None:
    """JSON is YAML."""
    (folder / "sources" / "mine.yaml").write_text(recipe.model_dump_json(exclude={"folder"}))


def run(store: Store, recipe: Recipe) -> None:
    filter_captions(store, recipe)
    for source in recipe.sources:
        SyntheticImages(store, recipe, source.name).make()
        ScoredPairs(store, recipe, source.name).make()
    for chosen in recipe.selection.sets:
        Synthvlm100k(store, recipe, chosen.name).make()


def test_a_plan_of_an_empty_store(painted: Recipe, tmp_path: Path) -> None:
    found = synthvlm("plan", "sources/mine.yaml")
    assert found.exit_code == 0
    assert found.output == (
        "laion:\n"
        "  none of its files was ever read: materialize raw_captions to know more\n"
        "cc:\n"
        "  none of its files was ever read: materialize raw_captions to know more\n"
        "\n"
        "set synthvlm: unknown before laion, cc are scored\n"
        "set random: unknown before laion, cc are scored\n"
        "\n"
        "model synthvlm-mini: trains, started by the retraining sensor\n"
        "model random-mini: trains, when somebody starts it\n"
    )
    assert not (tmp_path / "store").exists()


def test_a_plan_of_what_was_read_but_never_judged(painted: Recipe, store: Store) -> None:
    for source in painted.sources:
        RawCaptions(store, painted, source.name).make()
    assert synthvlm("plan", "sources/mine.yaml").output.startswith(
        "laion:\n"
        "  captions    at most 6 of 6 kept: 6 enter, 0 leave\n"
        "  to measure  6 text statistics\n"
        "  images      at most 12 new; 0 reused\n"
        "  to score    at most 12 colourfulness\n"
        "cc:\n"
    )


def test_a_plan_says_where_nothing_is_to_be_done(painted: Recipe, store: Store) -> None:
    run(store, painted)
    assert synthvlm("plan", "sources/mine.yaml").output.startswith(
        "laion: nothing to do; captions: 4 of 6 kept; images: 8 reused\n"
        "cc: nothing to do; captions: 4 of 4 kept; images: 8 reused\n"
        "\n"
        "set synthvlm: stays as it is, 4 pairs\n"
        "set random: stays as it is, 4 pairs\n"
    )


EDITS: list[tuple[dict[str, object], list[str]]] = [
    (
        {"generator.images_per_caption": 3},
        [
            "  images      4 new; 8 reused",
            "  to score    4 colourfulness",
            "in all: 8 images to draw",
            "set synthvlm: unknown before laion, cc are scored",
        ],
    ),
    ({"generator.width": 72}, ["  images      0 new, 8 drawn again; 0 reused", "in all: 16 images to draw"]),
    (
        {"selection.size": 3},
        [
            "set synthvlm: 0 of 3 pairs enter (0.0%), 1 leave",
            "model synthvlm-mini: trains, started by the retraining sensor",
            "model random-mini: trains, when somebody starts it",
        ],
    ),
    ({"selection.weights": {"colourfulness": 2.0}}, ["set synthvlm: the same 4 pairs with other ranks or scores"]),
    ({"release.instructions": ["Look."]}, ["set synthvlm: the same 4 pairs; its human turns are others"]),
    ({"release.formats": ["llava"]}, ["set synthvlm: stays as it is, 4 pairs; llava is added"]),
    (
        {"selection.size": 9},
        ["set synthvlm: refused: 9 pairs are wanted, 8 can be taken", "the released one stays"],
    ),
    ({"name": "other"}, ["set synthvlm: 4 pairs, released for the first time"]),
    ({"automation": ()}, ["model synthvlm-mini: trains, when somebody starts it"]),
    (
        {"training.vision_tower.id": "/nowhere"},
        ["model synthvlm-mini: cannot be trained: training.vision_tower.id: no folder /nowhere"],
    ),
    ({"sources.cc.files": ["*.gone"]}, ["cc:\n  source 'cc': *.gone matches no file (looked in sources)"]),
]


def test_a_plan_of_an_edit(painted: Recipe, store: Store, tmp_path: Path, edited: Callable[..., Recipe]) -> None:
    run(store, painted)
    for edit, said in EDITS:
        write(edited(painted, edit), tmp_path)
        found = synthvlm("plan", "sources/mine.yaml")
        assert found.exit_code == 0
        for words in said:
            assert words in found.output, edit


def test_a_new_file_is_named(painted: Recipe, store: Store, tmp_path: Path) -> None:
    run(store, painted)
    shutil.copy(tmp_path / "sources" / "cc.tsv", tmp_path / "sources" / "more.tsv")
    assert (
        "cc:\n  files       1 of 2 to read, not counted below\n  captions    4 of 4 kept"
        in synthvlm("plan", "sources/mine.yaml").output
    )


def test_the_store_is_an_option_or_the_environments(painted: Recipe, store: Store, tmp_path: Path) -> None:
    run(store, painted)
    shutil.move(store.root, tmp_path / "elsewhere")
    for found in (
        synthvlm("plan", "sources/mine.yaml", "--store", "elsewhere"),
        synthvlm("plan", "sources/mine.yaml", SYNTHVLM_STORE=str(tmp_path / "elsewhere")),
    ):
        assert "set synthvlm: stays as it is" in found.output


def test_a_store_that_nobody_knows() -> None:
    found = synthvlm("plan", "miniature", "--store", "s4://bucket")
    assert found.exit_code == 1
    assert found.stderr.startswith("store s4://bucket: Protocol not known: s4; write a path, or a URL of s3://, ")


def test_thresholds_are_told_in_a_table(painted: Recipe, store: Store) -> None:
    RawCaptions(store, painted, "laion").make()
    FilteredCaptions(store, painted, "laion").make()
    command = ("thresholds", "sources/mine.yaml", "laion", "--store", store.root)
    said = synthvlm(*command).output
    assert said.splitlines()[0] == "laion: 4 of 6 captions kept"
    assert re.search(r"^  alphanumeric +>= 0.6 +1 +\d$", said, re.MULTILINE)
    of_one = (*command, "--rule", "alphanumeric")
    assert re.search(r"^  >= 0.6 +4 +as now$", synthvlm(*of_one).output, re.MULTILINE)
    assert re.search(r"^  >= 0 +[45] +(as now|\+1)$", synthvlm(*of_one, "--min", "0.0").output, re.MULTILINE)
    for words, told in (
        (("--rule", "gone"), "no rule 'gone' is applied; those that are: alphanumeric"),
        (("--min", "0.5"), "--min and --max are bounds of a rule: name it by --rule"),
    ):
        found = synthvlm(*command, *words)
        assert (found.exit_code, told in found.output) == (1, True)
