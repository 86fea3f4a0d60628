"""docs/extending.md, followed literally: a module as the one new file of its room, a line, a recipe, and the stage."""

import base64
import contextlib
import importlib
import io
import json
import re
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import numpy as np
import pytest
from harness import GENERATORS, PAINTER, Painter, filter_captions, painted, registered
from PIL import Image
from skimage.filters import laplace
from tiny_vlm import VARIANT

from synthvlm_core import checking
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.nearest import nearest
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.decoding import decode
from synthvlm_core.errors import RecipeError
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.images.synthetic import SyntheticImages
from synthvlm_core.parts.part import Part
from synthvlm_core.progress import Progress, silent
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release import checks
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.store.objects import Store

Edit = Callable[..., Recipe]

ROOT = Path(__file__).parents[2]
CAPTIONS = [
    "a drawing of two green rings above a black cross",
    "a small red circle beside a large blue square on a white background",
    "one yellow triangle in the middle of a grey picture",
]
"""Of forty characters and more."""
SECTIONS = ("A rule", "A source format", "A generator", "A score", "A release format", "A benchmark")


@dataclass(frozen=True)
class Extension:
    """What a section of the document says: one module, one line, lines of a recipe."""

    path: str
    module: str
    room: str
    line: str
    recipe: str


def extension(title: str) -> Extension:
    """Read a section, which must be of just this form."""
    text = (ROOT / "docs/extending.md").read_text()
    [section] = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    assert [language for language, _ in blocks] == ["python", "python", "yaml"]
    (_, module), (_, line), (_, recipe) = blocks
    path, init = re.findall(r"`(synthvlm_core/[\w/]+\.py)`", section)
    assert init == f"{Path(path).parent}/__init__.py"
    assert line.count("\n") == 1, "one line registers it"
    return Extension(path, module, str(Path(path).parent).replace("/", "."), line, recipe)


@contextlib.contextmanager
def followed(title: str, folder: Path) -> Iterator[Extension]:
    """The section's module in its room, from a folder that holds nothing else, and its line run; undone afterwards."""
    said = extension(title)
    assert not (ROOT / said.path).exists(), "the document adds what is not there yet"
    new = folder / "room"
    new.mkdir()
    (new / Path(said.path).name).write_text(said.module)
    room: Any = importlib.import_module(said.room)
    room.__path__.append(str(new))
    importlib.invalidate_caches()
    name = Path(said.path).stem
    try:
        found: dict[str, Any] = {}
        exec(said.line, found)
        [part] = [value for value in found.values() if isinstance(value, type) and issubclass(value, Part)]
        with registered(said.room, part):
            yield said
        assert [file.name for file in new.iterdir() if file.name != "__pycache__"] == [f"{name}.py"]
    finally:
        room.__path__.remove(str(new))
        sys.modules.pop(f"{said.room}.{name}", None)
        vars(room).pop(name, None)


def with_lines(base: Recipe, lines: str, folder: Path) -> Recipe:
    """A recipe file that extends another one by the document's lines; its paths start in the folder of the other's."""
    values = json.loads(loading.dumps(base))
    del values["folder"]
    (folder / "base.yaml").write_text(json.dumps(values))
    (folder / "mine.yaml").write_text(f"extends: base.yaml\n{lines}")
    draft = loading.read(str(folder / "mine.yaml"))
    wrong = [str(problem) for problem in checking.problems(draft) if problem.level != "needed"]
    assert not wrong
    return draft.recipe()


@pytest.mark.parametrize("title", SECTIONS)
def test_the_lines_are_a_recipe_of_ones_own(title: str, tmp_path: Path) -> None:
    """On top of the miniature, as the README begins a recipe; without the new part they are refused with the place."""
    mine = tmp_path / "mine.yaml"
    mine.write_text(f"extends: miniature\nname: mine\n{extension(title).recipe}")
    with followed(title, tmp_path):
        assert loading.load(str(mine)).name == "mine"
        assert loading.load("miniature").name == "miniature"
    with pytest.raises(RecipeError, match=rf"{mine}:\d+: .*(choose|allowed|one of)"):
        loading.load(str(mine))


def test_a_rule(small_recipe: Recipe, edited: Edit, store: Store, source_files: Path, tmp_path: Path) -> None:
    with followed("A rule", tmp_path) as said:
        recipe = with_lines(small_recipe, said.recipe, source_files)
        few = "a red ring on a white background"
        (source_files / "cc.tsv").write_text("".join(f"{text}\tx\n" for text in [*CAPTIONS, few]))
        filter_captions(store, recipe)
        stage = FilteredCaptions(store, recipe, "cc")
        assert stage.manifest["rejected_by_rule"] == {"alphanumeric": 0, "character_count": 1}
        assert stage.manifest["measured_by_family"]["character_count"] == 4
        [row] = [row for part in stage.rejected() for row in part.to_pylist()]
        assert (row["text"], row["rule"], row["value"], row["threshold"]) == (few, "character_count", 32, 40)
        assert sum(stage.manifest["histograms"]["characters"]["kept"]) == 3
        assert nearest(stage)["character_count"]["rejected"] == [(few, 32)]
        # another bound measures nothing
        looser = edited(recipe, {"captions.rules.character_count.min_characters": 32})
        manifest = FilteredCaptions(store, looser, "cc").make()
        assert (manifest["kept"], manifest["measured"]) == (4, 0)
        with pytest.raises(RecipeError, match="min_characters must not exceed max_characters"):
            edited(recipe, {"captions.rules.character_count.min_characters": 401})


def test_a_source_format(small_recipe: Recipe, store: Store, source_files: Path, tmp_path: Path) -> None:
    lines = [
        *(text.encode() for text in CAPTIONS),
        b"",
        b"latin \xe9",
        b"x" * (2 << 20),
        "ein gr\u00fcner Ring".encode(),
    ]
    (source_files / "captions").mkdir()
    (source_files / "captions" / "a.txt").write_bytes(b"\r\n".join(lines))
    with followed("A source format", tmp_path) as said:
        recipe = with_lines(small_recipe, said.recipe, source_files)
        stage = RawCaptions(store, recipe, "own")
        manifest = stage.make()
        texts = [text for part in stage.captions(["text"]) for text in part["text"].to_pylist()]
        assert texts == [*CAPTIONS, "ein gr\u00fcner Ring"]
        assert (manifest["rows"], manifest["quarantined"]) == (4, 3)
        bad = {row["row"]: row["reason"] for part in stage.quarantine() for row in part.to_pylist()}
        assert bad.pop(5).startswith("line longer than")
        assert bad == {3: "caption is empty", 4: "caption is not UTF-8"}
        assert FilteredCaptions(store, recipe, "own").make()["captions"] == 4


@dataclass
class Service:
    """A service on loopback that paints what it is asked for, refuses purple, and can be put out of order."""

    url: str
    asked: list[dict[str, Any]]
    tokens: list[str | None]
    status: int = 200


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found.asked.append(asked)
            found.tokens.append(self.headers["Authorization"])
            if found.status != 200:
                self._answer(found.status, {"error": {"code": "invalid_api_key"}})
            elif "purple" in asked["prompt"]:
                self._answer(400, {"error": {"code": "content_policy_violation", "message": "no purple"}})
            else:
                self._answer(200, {"data": [{"b64_json": base64.b64encode(picture_of(asked)).decode()}]})

        def _answer(self, status: int, answer: dict[str, Any]) -> None:
            data = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass  # not into the test's output

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        found = Service(f"http://127.0.0.1:{server.server_port}", [], [])
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


def picture_of(asked: dict[str, Any]) -> bytes:
    """The PNG that the service answers with."""
    width, height = map(int, asked["size"].split("x"))
    pixels = painted(len(asked["prompt"]), width, height) * 255
    buffer = io.BytesIO()
    Image.fromarray(pixels.round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_generator(
    small_recipe: Recipe,
    edited: Edit,
    store: Store,
    source_files: Path,
    tmp_path: Path,
    service: Service,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with followed("A generator", tmp_path) as said:
        recipe = with_lines(small_recipe, said.recipe.replace("http://localhost:8000", service.url), source_files)
        recipe = edited(recipe, {"generator.encoding": {"format": "png"}})
        filter_captions(store, recipe)
        stage = SyntheticImages(store, recipe, "cc")
        manifest = stage.make()
        assert (manifest["wanted"], manifest["healthy"], manifest["refused"]) == (4, 3, 1)
        assert manifest["redrawn"] == 0, "the words were refused, not the picture"
        rows = [row for part in stage.counting_images() for row in part.to_pylist()]
        kept = {text for part in stage.captions.kept(["text"]) for text in part["text"].to_pylist()}
        assert {row["text"] for row in rows} == {text for text in kept if "purple" not in text}
        for row in rows:
            [asked] = [asked for asked in service.asked if asked["prompt"] == row["text"]]
            assert asked["model"] == "black-forest-labs/FLUX.1-schnell"
            assert decode(row["image"]["bytes"]).tobytes() == decode(picture_of(asked)).tobytes()
        assert len(service.asked) == 4
        assert "need not draw the same picture" in recipe.generator.told()
        # a service that moved draws nothing again
        moved = edited(recipe, {"generator.url": "http://127.0.0.1:9/v1", "generator.batch_size": 1})
        assert SyntheticImages(store, moved, "cc").make()["drawn"] == 0

        # what a person must mend is said so, what may pass by itself is tried again
        laion = SyntheticImages(store, recipe, "laion")
        service.status = 401
        with pytest.raises(RecipeError, match=r"answers 401: .*invalid_api_key.*mend the section"):
            laion.make()
        service.status = 503
        with pytest.raises(HTTPError):
            laion.make()
        service.status = 200
        closed = edited(recipe, {"generator.token": "SYNTHVLM_TEST_TOKEN"})
        with pytest.raises(RecipeError, match="SYNTHVLM_TEST_TOKEN is not set: export"):
            SyntheticImages(store, closed, "laion").make()
        monkeypatch.setenv("SYNTHVLM_TEST_TOKEN", "secret")
        assert SyntheticImages(store, closed, "laion").make()["healthy"] == 3
        assert service.tokens[-1] == "Bearer secret"


@pytest.fixture
def painting_recipe(small_recipe: Recipe, edited: Edit) -> Iterator[Recipe]:
    """The small recipe with painted pictures and SSIM alone, of which the best three are the set."""
    ssim = next(score for score in small_recipe.scores if score.column == "ssim")
    with registered(GENERATORS, Painter):
        yield edited(
            small_recipe,
            {
                "generator": PAINTER,
                "scores": [ssim.model_dump(mode="json")],
                "selection.weights": {"ssim": 1.0},
                "selection.size": 3,
            },
        )


@pytest.fixture
def scored(store: Store, painting_recipe: Recipe) -> Store:
    """A store with painted pictures of both sources and their SSIM."""
    filter_captions(store, painting_recipe)
    for source in painting_recipe.sources:
        SyntheticImages(store, painting_recipe, source.name).make()
        ScoredPairs(store, painting_recipe, source.name).make()
    return store


def test_a_score(scored: Store, painting_recipe: Recipe, source_files: Path, tmp_path: Path) -> None:
    with followed("A score", tmp_path) as said:
        recipe = with_lines(painting_recipe, said.recipe, source_files)
        for source in recipe.sources:
            stage = ScoredPairs(scored, recipe, source.name)
            manifest = stage.make()
            assert manifest["scored_by_score"] == {"ssim": 0, "sharpness": manifest["pairs"]}
        pictures = {row["image_id"]: row for part in stage.images.counting_images() for row in part.to_pylist()}
        pairs = [row for part in stage.pairs() for row in part.to_pylist()]
        assert pairs
        for row in pairs:
            grey = np.asarray(decode(pictures[row["image_id"]]["image"]["bytes"])) @ np.array([0.299, 0.587, 0.114])
            expected = laplace(grey)[1:-1, 1:-1].var()  # type: ignore[no-untyped-call]  # it ships so
            assert row["sharpness"] == pytest.approx(expected, rel=1e-12)
        # weights, floor, thresholds, set and card take it by its name
        released = Synthvlm100k(scored, recipe, recipe.selection.sets[0].name)
        released.make()
        rows = [row for part in released.rows() for row in part.to_pylist()]
        assert len(rows) == 3
        for row in rows:
            assert row["weighted_score"] == pytest.approx(row["ssim"] + 0.0001 * row["sharpness"])
        assert checks.no_pair_is_below_the_floor(released).passed
        assert "LAPV of Pech-Pacheco" in released.product.get("README.md").decode()


def test_a_release_format(
    scored: Store, painting_recipe: Recipe, source_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = painting_recipe.selection.sets[0].name
    before = Synthvlm100k(scored, painting_recipe, name).make()
    with followed("A release format", tmp_path) as said:
        recipe = with_lines(painting_recipe, said.recipe, source_files)
        stage = Synthvlm100k(scored, recipe, name)
        manifest = stage.make()
        assert manifest["written"] == ["imagefolder"], "added to the release that is there"
        assert manifest["content_hash"] == before["content_hash"]
        finding = checks.formats_agree(stage)
        assert finding.passed, finding.summary
        assert "imagefolder" in finding.summary
        assert "`metadata.jsonl`" in stage.product.get("README.md").decode()

        import datasets

        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
        folder = f"{stage.location}/imagefolder"
        found = datasets.load_dataset("imagefolder", data_dir=folder, split="train", cache_dir=str(tmp_path / "cache"))
        rows = [row for part in stage.rows() for row in part.to_pylist()]
        assert {(row["image_id"], row["text"], row["image"].tobytes()) for row in found} == {
            (row["image_id"], row["text"], decode(row["image"]["bytes"]).tobytes()) for row in rows
        }

        # what the files tell is what they hold
        form = next(form for form in stage.formats() if form.kind_name == "imagefolder")
        context = stage.set_context(stage.manifest)
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in Path(folder).rglob("*.*")}
        assert list(form.pairs(files.__getitem__, list(files), context)) == [form.pair(row, context) for row in rows]
        with pytest.raises(ValueError, match=r"imagefolder/metadata\.jsonl, line 1: no file"):
            list(form.pairs(files.__getitem__, ["metadata.jsonl"], context))
        files["metadata.jsonl"] += b"nothing\n"
        with pytest.raises(ValueError, match=r"imagefolder/metadata\.jsonl, line 4: JSONDecodeError"):
            list(form.pairs(files.__getitem__, list(files), context))

        # damage is found and mended
        scored.replace(f"{folder}/metadata.jsonl", files["metadata.jsonl"])
        assert not checks.formats_agree(Synthvlm100k(scored, recipe, name)).passed
        assert Synthvlm100k(scored, recipe, name).make()["written"] == ["imagefolder"]
        assert checks.formats_agree(Synthvlm100k(scored, recipe, name)).passed


@pytest.mark.model
def test_a_benchmark(released: Store, tiny_recipe: Recipe, edited: Edit, asked: Path, tmp_path: Path) -> None:
    folder = tmp_path / "recipes"
    (folder / "pope").mkdir(parents=True)
    shutil.copy(asked / "pictures.zip", folder / "pope" / "pictures.zip")
    pictures = sorted({json.loads(line)["picture"] for line in (asked / "questions.jsonl").open()})[:3]
    questions = [
        {"question_id": number, "image": name, "text": f"Is there a {shape} in the image?", "label": label}
        for number, (name, shape, label) in enumerate(
            (name, *about) for name in pictures for about in (("circle", "yes"), ("zebra", "no"))
        )
    ]
    file = folder / "pope" / "coco_pope_random.json"
    file.write_text("".join(json.dumps(question) + "\n" for question in questions))
    with followed("A benchmark", tmp_path) as said:
        recipe = edited(with_lines(tiny_recipe, said.recipe, folder), {"evaluation.texts": None})
        stage = Evaluation(released, recipe, VARIANT)
        stage.checkpoint.aligned.make()
        stage.checkpoint.make()
        result = stage.make()["benchmarks"]["pope"]
        assert (result["overall"]["n"], result["overall"]["chance"], result["overall"]["majority"]) == (6, 0.5, 0.5)
        assert [row["question"] for row in result["answers"]] == [question["text"] for question in questions]
        assert len(stage.examples()) == 3
        # the model was trained for six steps and says anything; what other answers are worth:
        [benchmark] = stage.benchmarks
        words = ["Yes", "No, there is none.", "there is not", "yes. There is no zebra", "It is not there", "nothing"]

        def ask(pictures: Sequence[Image.Image | None], questions: Sequence[str], progress: Progress) -> list[str]:
            assert [getattr(picture, "size", None) for picture in pictures] == [(64, 64)] * 6
            return words

        told = benchmark.answers(folder, ask, stage.context, silent)
        assert [(row.answer, row.right) for row in told] == list(zip(words, [1, 1, 0, 0, 0, 0], strict=True))
        # an edit of the file shows, its place does not
        file.rename(folder / "pope" / "other.json")
        moved = edited(recipe, {"evaluation.benchmarks.pope.file": "pope/other.json"})
        assert Evaluation(released, moved, VARIANT).key == stage.key
        questions[0]["label"] = "no"
        file.write_text("".join(json.dumps(question) + "\n" for question in questions))
        assert Evaluation(released, recipe, VARIANT).key != stage.key
        # what is wrong is told before anything is asked
        questions[0]["image"] = "nowhere.png"
        file.write_text("".join(json.dumps(question) + "\n" for question in questions))
        [wrong] = checking.problems(loading.read(str(folder / "mine.yaml")))
        assert wrong.level == "wrong"
        assert "no picture 'nowhere.png'" in wrong.message
