"""The names of stored work, pinned: what this file fails on would be measured, drawn or trained again by everybody.

`fixtures/golden/` has frozen copies of both presets, which stay as they are when a preset is edited, and the names that
follow from them while weights, word lists and the content of every input are frozen too.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pydantic.fields import FieldInfo

from synthvlm_core import hashing
from synthvlm_core.captions import files
from synthvlm_core.captions.raw import reader_key
from synthvlm_core.captions.rules import word_lists
from synthvlm_core.evaluation import evaluated, perplexity
from synthvlm_core.evaluation.benchmarks.questions import Questions
from synthvlm_core.evaluation.evaluated import Evaluation
from synthvlm_core.graph import STAGES
from synthvlm_core.images import synthetic
from synthvlm_core.images.synthetic import image_id
from synthvlm_core.models import weights
from synthvlm_core.parts.generator import seed_of
from synthvlm_core.parts.part import kinds
from synthvlm_core.parts.section import Absent, Incidental, Model, Section, definition
from synthvlm_core.parts.source import InputFile
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.release.instructions import instruction
from synthvlm_core.release.released import Synthvlm100k
from synthvlm_core.scoring import scored
from synthvlm_core.scoring.scored import ScoredPairs
from synthvlm_core.stages import context
from synthvlm_core.store.objects import Store

GOLDEN = Path(__file__).parents[1] / "fixtures" / "golden"
EXPECTED = GOLDEN / "names.json"
RECIPES = ("miniature", "paper")
WRITE = "SYNTHVLM_WRITE_GOLDEN"
COMMAND = f"{WRITE}=1 python -m pytest tests/synthvlm_core/test_golden.py"
ROOMS = (
    "synthvlm_core.captions.readers",
    "synthvlm_core.captions.originals",
    "synthvlm_core.captions.rules",
    "synthvlm_core.images.generators",
    "synthvlm_core.scoring.scorers",
    "synthvlm_core.release.formats",
    "synthvlm_core.evaluation.benchmarks",
)

HELP = f"""
Stored work goes by these names: with others everybody's captions, images, scores and models are made anew.

If you meant that, say in CHANGELOG.md what is made anew and why, and write the new names with
    {COMMAND}
If you did not: a new key of a recipe needs Absent(what its absence meant), or Incidental() if it changes no result
(parts/section.py); a default that changes keeps the Absent value that it has; a part that became available, or a
version that was raised, renames what it must and is meant. Else undo what renamed them."""

CAPTIONS = (
    ("laion", "a small red circle beside a large blue square"),
    ("cc", 'ein "roter" Kreis 三角形'),
)


def frozen(what: str) -> str:
    """A content hash that never changes."""
    return hashlib.md5(what.encode()).hexdigest()


def recipe_of(name: str) -> Recipe:
    return loading.load(str(GOLDEN / f"{name}.yaml")).model_copy(update={"folder": "/frozen"})


@pytest.fixture(autouse=True)
def frozen_inputs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Weights in folders, word lists, source files, questions and texts that are always the same."""
    hub = weights.definition

    def frozen_weights(model: Model, folder: str, key: str = "model") -> str:
        return hub(model, folder, key) if model.revision else frozen(f"weights of {model.id}")

    listed = word_lists.WordList(frozenset({"frozen"}), "frozen", frozen("words"))
    monkeypatch.setattr(weights, "definition", frozen_weights)
    monkeypatch.setattr(word_lists, "load", lambda spec, folder="": listed)
    monkeypatch.setattr(files, "input_files", lambda source, folder: [InputFile("a/b.tsv", "/frozen/a/b.tsv")])
    monkeypatch.setattr(files, "fingerprints", lambda inputs: [frozen(file.name) for file in inputs])
    monkeypatch.setattr(Questions, "content", lambda self, about: frozen("questions"))
    monkeypatch.setattr(perplexity, "read_texts", lambda file: ["one frozen text", "another frozen text"])
    monkeypatch.setattr(evaluated, "local_file", lambda path, key, what: Path(path))


def names_of(recipe: Recipe, store: Store, mix: Path) -> dict[str, Any]:
    """Everything that names stored work of a recipe."""
    found: dict[str, Any] = {
        "code versions": {stage.name: stage.code_version(recipe) for stage in STAGES},
        "reader keys": {source.name: reader_key(source) for source in recipe.sources},
        "image definition": synthetic.definition(recipe),
        "score definitions": scored.definitions(recipe),
        "spec": scored.spec(recipe),
        "format versions": {form.kind_name: form.version for form in recipe.release.formats},
        "human turns": [instruction(recipe.release.instructions, recipe.seed, one) for one in caption_ids()],
    }

    def below(path: str) -> str:
        return path.removeprefix(f"{store.root}/")

    for source in recipe.sources:
        pairs = ScoredPairs(store, recipe, source.name)
        images, filtered = pairs.images, pairs.images.captions
        filtered.raw.manifest = {"content_hash": frozen(f"raw {source.name}"), "files": []}
        filtered.manifest = {"content_hash": frozen(f"filtered {source.name}")}
        images.manifest = {"content_hash": frozen(f"images {source.name}")}
        found.setdefault("caption measurements", {}).update(
            {family.name: family.measurement.definition for family in filtered.families}
        )
        found[f"source {source.name}"] = {
            "keys of its files": filtered.raw.changed(),
            "filtered_captions.key": filtered.key,
            "synthetic_images.key": images.key,
            "scored_pairs.key": pairs.key,
            "paths": [
                below(filtered.raw.manifest_path),
                *(below(filtered.measured(family).path) for family in filtered.families),
                *(below(folder.path) for folder in filtered.folders.values()),
                below(filtered.manifest_path),
                below(images.folder.path),
                below(images.manifest_path),
                *(below(pairs.score_folder(score).path) for score in recipe.scores),
                below(pairs.manifest_path),
            ],
        }
    for chosen in recipe.selection.sets:
        released = Synthvlm100k(store, recipe, chosen.name)
        latest = {"content_hash": frozen(chosen.name), "recipe": recipe.name, "set": chosen.name}
        store.put_json(store.path("releases", released.release_name, "latest.json"), latest)
        found[f"set {chosen.name}"] = {"paths": [below(released.location)]}
    for variant in recipe.training.variants:
        asked = Evaluation(store, recipe, variant.name)
        tuned = asked.checkpoint
        tuned.aligned.released.manifest = {"content_hash": frozen(variant.selection)}
        tuned.instructions = mix
        found[f"variant {variant.name}"] = {
            "projector_checkpoint.key": tuned.aligned.key,
            "vlm_checkpoint.key": tuned.key,
            "evaluation.key": asked.key,
            "benchmark definitions": {
                found.title: found.definition(context(recipe), recipe.evaluation.max_new_tokens)
                for found in recipe.evaluation.benchmarks
                if found.unavailable(context(recipe)) is None
            },
            "paths": [below(tuned.aligned.path), below(tuned.path), below(asked.manifest_path)],
        }
    return found


def caption_ids() -> list[str]:
    return [hashing.caption_ids(source, pa.array([text]))[0].as_py() for source, text in CAPTIONS]


def formulas(folder: Path) -> dict[str, Any]:
    """What follows from no recipe: ids, seeds, hashes of content."""
    one, other = caption_ids()
    model = folder / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"weights")
    (model / "README.md").write_text("no part of the model")
    captions = folder / "captions.tsv"
    captions.write_text("caption\turl\n")
    os.utime(captions, ns=(0, 1_700_000_000_000_000_000))
    rows = pa.table(
        {
            "text": pa.array(["a", "ü 三", None], pa.string()),
            "number": pa.array([1, -2, None], pa.int32()),
            "real": pa.array([0.1, -0.0, None], pa.float64()),
            "truth": pa.array([True, False, None], pa.bool_()),
            "image": pa.array(
                [{"bytes": b"\x00\xff", "path": "a.png"}, {"bytes": b"", "path": None}, None],
                pa.struct([pa.field("bytes", pa.binary()), pa.field("path", pa.string())]),
            ),
        }
    )
    return {
        "digest": hashing.digest(b"ab", b"c"),
        "hash of JSON": hashing.of_json({"b": [1, 0.1, None, "ü"], "a": True}),
        "definition": definition("measurement", 1, {"value": 0.5}),
        "content hash": hashing.content_hash([rows]),
        "caption ids": [one, other],
        "image ids": [image_id(one, 0, 0, frozen("drawn")), image_id(other, 1, 2, frozen("drawn"))],
        "seeds": [seed_of(0, one, 0, 0), seed_of(7, other, 1, 2)],
        "weights in a folder": weights.definition(Model(id=str(model), revision="none", dtype="float16"), "/"),
        "weights on the hub": weights.definition(Model(id="owner/name", revision="0" * 40, variant="fp16"), "/"),
        "fingerprint of a file": UNFROZEN_FINGERPRINTS([InputFile("captions.tsv", str(captions))])[0],
    }


UNFROZEN_FINGERPRINTS = files.fingerprints


@pytest.fixture
def all_names(tmp_path: Path) -> Callable[[], dict[str, Any]]:
    mix = tmp_path / "mix.json"
    mix.write_text("[]")
    store = Store(str(tmp_path / "store"))
    return lambda: {name: names_of(recipe_of(name), store, mix) for name in RECIPES}


def flat(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every single name with where it stands."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from flat(item, f"{place} / {key}" if place else key)
    else:
        yield place, value


def changes(expected: Any, now: Any) -> list[str]:
    before, after = dict(flat(expected)), dict(flat(now))
    return [
        f"{place}\n    was {before.get(place, 'not there')}\n    is  {after.get(place, 'not there')}"
        for place in dict.fromkeys([*before, *after])
        if before.get(place) != after.get(place)
    ]


def test_no_stored_work_is_renamed(all_names: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    now = {"formulas": formulas(tmp_path), **all_names()}
    if os.environ.get(WRITE):
        EXPECTED.write_text(json.dumps(now, indent=1, ensure_ascii=False) + "\n")
    renamed = changes(json.loads(EXPECTED.read_text()), now)
    if renamed:
        pytest.fail("\n".join([f"{len(renamed)} names changed:", *renamed, HELP]), pytrace=False)


def test_a_change_is_told_with_its_place_and_the_remedy() -> None:
    told = changes({"a": {"b": "1", "c": "2"}}, {"a": {"b": "3"}, "d": "4"})
    assert told == [
        "a / b\n    was 1\n    is  3",
        "a / c\n    was 2\n    is  not there",
        "d\n    was not there\n    is  4",
    ]
    assert "CHANGELOG.md" in HELP
    assert COMMAND in HELP


def all_sections() -> list[type[Section]]:
    """Every section of a recipe and every part of every room, what they inherit from included."""
    for room in ROOMS:
        kinds(room)
    found: dict[type[Section], None] = {}
    waiting: list[type[Section]] = [Section]
    while waiting:
        for cls in waiting.pop().__subclasses__():
            if cls.__module__.startswith("synthvlm_core.") and cls not in found:
                found[cls] = None
                waiting.append(cls)
    return list(found)


def add_key(monkeypatch: pytest.MonkeyPatch, marker: Absent | Incidental, value: Any) -> None:
    """Give every section a key `novelty`, which recipes leave out, as a later version of this software may."""
    for cls in all_sections():
        monkeypatch.setitem(cls.model_fields, "novelty", FieldInfo(annotation=Any, default=value))
        cls.model_fields["novelty"].metadata.append(marker)
        monkeypatch.setattr(cls, "novelty", value, raising=False)


@pytest.mark.parametrize("absent", [None, 0, False, "off", 1.5, [], {}])
def test_a_key_that_is_absent_renames_nothing(
    all_names: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch, absent: Any
) -> None:
    before = all_names()
    add_key(monkeypatch, Absent(absent), absent)
    assert changes(before, all_names()) == []


def test_an_incidental_key_renames_nothing(
    all_names: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_names()
    add_key(monkeypatch, Incidental(), "whatever")
    assert changes(before, all_names()) == []


def test_a_key_with_a_value_of_its_own_renames(
    all_names: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the tests above could not fail: a default that is not the meaning of its absence is another definition."""
    before = all_names()
    add_key(monkeypatch, Absent(None), "something")
    renamed = {place.split("\n")[0] for place in changes(before, all_names())}
    for stage in STAGES:
        assert f"miniature / code versions / {stage.name}" in renamed
    for name in ("image definition", "score definitions / clip_score", "score definitions / ssim", "spec"):
        assert f"miniature / {name}" in renamed
    assert "miniature / caption measurements / perplexity" in renamed
    assert "miniature / variant synthvlm-mini / vlm_checkpoint.key" in renamed


def test_every_key_with_a_default_says_what_its_absence_meant() -> None:
    assert len(all_sections()) > 40
    for cls in all_sections():
        for name, field in cls.model_fields.items():
            tag = getattr(cls, "tag", None) == name
            markers = [marker for marker in field.metadata if isinstance(marker, Absent | Incidental)]
            if not field.is_required() and not tag:
                assert len(markers) == 1, f"{cls.__name__}.{name}"
            for marker in markers:
                if isinstance(marker, Absent):
                    # a tuple or a section would equal no JSON value, and the key would never count as absent
                    assert json.loads(json.dumps(marker.value)) == marker.value, f"{cls.__name__}.{name}"


def test_frozen_recipes_read_no_model_file(all_names: Callable[[], dict[str, Any]]) -> None:
    """A recipe whose folder is nowhere has names all the same: nothing but the frozen inputs is read."""
    assert not Path("/frozen").exists()
    assert set(all_names()) == set(RECIPES)
