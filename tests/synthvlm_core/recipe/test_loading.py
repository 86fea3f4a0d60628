"""From a file to a recipe: presets, mistakes explained with file and line, and recipes that extend others."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from harness import of_kind

from synthvlm_core.captions.rules.flagged_words import FlaggedWords
from synthvlm_core.errors import RecipeError
from synthvlm_core.recipe import loading
from synthvlm_core.recipe.documents import PRESETS
from synthvlm_core.recipe.sections import Recipe

MINIATURE = (PRESETS / "miniature.yaml").read_text()


@pytest.fixture
def load_text(tmp_path: Path) -> Callable[[str], Recipe]:
    def load(text: str) -> Recipe:
        (tmp_path / "mine.yaml").write_text(text)
        return loading.load(str(tmp_path / "mine.yaml"))

    return load


def line_of(text: str, words: str) -> int:
    assert text.count(words) == 1
    return text[: text.index(words)].count("\n") + 1


@pytest.mark.parametrize("preset", ["miniature", "paper"])
def test_presets_load_and_travel_as_json(preset: str) -> None:
    recipe = loading.load(preset)
    assert recipe.name == preset
    assert loading.loads(loading.dumps(recipe)) == recipe


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"name": "x", "what": 1}', "\x00"])
def test_what_is_no_resolved_recipe_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match="not a resolved recipe"):
        loading.loads(text)


RULES = (
    "alphanumeric, character_repetition, flagged_words, kenlm_perplexity, perplexity, special_characters, "
    "word_repetition, image_text_matching, image_text_similarity, most_similar, judge, served_judge, "
    "word_count, lexical_diversity, language, personal_data, blocklist, decontamination, "
    "near_duplicates"
)
READERS = "laion, cc3m, cc12m, sbu, datacomp_blip2, img2dataset, csv, jsonl"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "steps: 8",
            "stepz: 8",
            ["generator.stepz: unknown key; allowed here: width", "generator.steps: Field required"],
        ),
        ("size: 800", "size: lots", ["selection.size", "integer", "given: 'lots'"]),
        ("seed: 0", "seed: -1", ["seed", "greater than or equal to 0"]),
        ("ssim: 0.5}", "ssim: .nan}", ["selection.weights.ssim", "finite"]),
        ("name: cc\n", "name: laion\n", ["sources: names must differ"]),
        ("max_ratio: 0.42023757", "max_ratio: 0.1", ["captions.rules.4: min_ratio must not exceed max_ratio"]),
        ("format: cc3m", "format: datacomp_blip2", ["sources.1.metadata_files: Field required"]),
        ("seed: 0", "seed: 0\nseed: 1", ["given twice"]),
        ("seed: 0\nthreads: 1", "seed: &a 0\nthreads: *a", ["aliases are not allowed"]),
        ("threads: 1", "threads: 2024-01-01", ["threads", "given: '2024-01-01'"]),
        ("name: cc\n", "name: a..b\n", ["sources.1.name"]),
        ("origin: model", "origin: robot", ["sources.3.origin: allowed here: human, model (given: 'robot')"]),
        (
            "model: {id: package:synthvlm_miniature/models/clip}",
            "model: {id: x, revison: y}",
            ["captions.rules.6.model.revison"],
        ),
        ("format: cc3m", "format: cc4m", [f"sources.1.format: allowed here: {READERS} (given: 'cc4m')"]),
        ("rule: judge", "rule: jury", [f"captions.rules.7.rule: allowed here: {RULES} (given: 'jury')"]),
        ("rule: judge", "# judge", [f"captions.rules.7.rule: missing; allowed here: {RULES}"]),
        ("score: ssim,", "score: simm,", ["scores.1.score: allowed here: clip_score, ssim", "(given: 'simm')"]),
        (
            "formats: [huggingface, llava]",
            "formats: [parquet]",
            ["release.formats.0.format: allowed here: huggingface"],
        ),
        ("benchmark: questions", "benchmark: x", ["evaluation.benchmarks.0.benchmark: allowed here: questions"]),
        ("kind: diffusers", "kind: difusers", ["generator.kind: allowed here: diffusers (given: 'difusers')"]),
        ("encoding: {format: png}", "encoding: {format: gif}", ["generator.encoding.format: allowed here: jpeg, png"]),
        ("- {rule: alphanumeric, min_ratio: 0.60}", "- 3", ["captions.rules.0: Input should be an object (given: 3)"]),
        ("- {rule: alphanumeric, min_ratio: 0.60}", "- alphanumeric", ["captions.rules.0: needs min_ratio"]),
        ("{caption}", "the caption", ["captions.rules.7: prompt must contain {caption}"]),
        ("formats: [huggingface, llava]", "formats: [llava, llava]", ["release.formats: names must differ"]),
        ("rule: special_characters", "rule: alphanumeric", ["captions.rules: names must differ"]),
        ("ssim: 0.5}", "simm: 0.5}", ["selection.weights: 'simm' is no score of this recipe; there are ['clip_score'"]),
        ("floor: {clip_score", "floor: {clip", ["selection.floor: 'clip' is no score of this recipe"]),
        ("mean: {clip_score", "mean: {clip", ["selection.source_thresholds.mean: 'clip' is no score"]),
        ("selection: random}", "selection: x}", ["training.variants.1.selection: 'x' is no set of selection.sets"]),
        ("micro_batch: 16", "micro_batch: 15", ["training.align: global_batch must be a multiple of micro_batch"]),
        ("sources:", "sources: []\nsourcez:", ["sourcez: unknown key; allowed here: extends, name, seed"]),
        ("seed: 0", "folder: x\nseed: 0", ["folder: unknown key; it is where the file lies"]),
        ("format: cc3m", "format: cc4m", ["(given: 'cc4m'); did you mean 'cc3m'?"]),
        ("steps: 8", "stepz: 8", ["; did you mean 'steps'?"]),
        ("origin: model", "origin: modell", ["(given: 'modell'); did you mean 'model'?"]),
        ("seed: 0", "seed: 0123", ["seed: Input should be a valid integer (given: '0123')"]),
        ("size: 800", "size: 1:30", ["selection.size: Input should be a valid integer (given: '1:30')"]),
        ("max_ratio: 0.42023757", "max_ratio: 1e-3", ["captions.rules.4: min_ratio must not exceed max_ratio"]),
    ],
)
def test_a_mistake_is_explained(load_text: Callable[[str], Recipe], old: str, new: str, said: list[str]) -> None:
    assert old in MINIATURE
    with pytest.raises(RecipeError) as caught:
        load_text(MINIATURE.replace(old, new, 1))
    for words in ["mine.yaml", *said]:
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("steps: 8", "steps: 0", "generator.steps"),
        ("format: cc3m", "format: cc4m", "sources.1.format"),
        ("min_yes: 0.5", "min_yes: 1.5", "captions.rules.7.min_yes"),
        ("shrink_to: 32", "shrunk_to: 32", "scores.1.shrunk_to"),
        ("ssim: 0.9", "ssim: high", "selection.source_thresholds.mean.ssim"),
        ("formats: [huggingface, llava]", "formats: [llava, llava]", "release.formats"),
        ("{name: random, by: random}", "{name: random, by: dice}", "selection.sets.1.by"),
        ("text_form: wrapped", "text_form: worn", "captions.text_form"),
    ],
)
def test_an_error_names_the_line(load_text: Callable[[str], Recipe], old: str, new: str, key: str) -> None:
    line = line_of(MINIATURE, old)
    with pytest.raises(RecipeError, match=rf"mine\.yaml:{line}: {key}: "):
        load_text(MINIATURE.replace(old, new))


def test_all_mistakes_are_told_at_once_and_each_once(load_text: Callable[[str], Recipe]) -> None:
    text = MINIATURE.replace("steps: 8", "steps: 0").replace("benchmark: questions", "benchmark: x")
    with pytest.raises(RecipeError) as caught:
        load_text(text)
    keys = [line.split(": ")[1] for line in str(caught.value).splitlines()]
    assert keys == ["generator.steps", "evaluation.benchmarks.0.benchmark"]


@pytest.mark.parametrize(
    "text", ["", "- a list", "a: [", "\x00", "folder: x", "[" * 3000, "x: &a [*a]", "extends: [x]"]
)
def test_no_recipe_at_all(load_text: Callable[[str], Recipe], text: str) -> None:
    with pytest.raises(RecipeError, match=r"mine\.yaml"):
        load_text(text)


def test_an_unknown_name_lists_the_presets() -> None:
    with pytest.raises(RecipeError, match="miniature, paper"):
        loading.load("papper")


def test_the_hash_does_not_know_the_machine(load_text: Callable[[str], Recipe]) -> None:
    assert load_text(MINIATURE).hash == loading.load("miniature").hash


# Recipes that extend others


def test_a_recipe_may_be_the_few_lines_in_which_it_differs(load_text: Callable[[str], Recipe], tmp_path: Path) -> None:
    recipe = load_text("extends: miniature\nname: mine\ngenerator: {steps: 4}\n")
    miniature = loading.load("miniature")
    values = json.loads(loading.dumps(miniature))
    values["name"], values["generator"]["steps"], values["folder"] = "mine", 4, str(tmp_path)
    assert json.loads(loading.dumps(recipe)) == values


def test_sections_are_merged_and_lists_and_free_maps_replaced(load_text: Callable[[str], Recipe]) -> None:
    recipe = load_text(
        "extends: miniature\n"
        "scores:\n  - {score: ssim, shrink_to: 32, window: 7, resample: bicubic, channels: rgb, data_range: 255}\n"
        "selection:\n  weights: {ssim: 1.0}\n  floor: {}\n  source_thresholds: {mean: {ssim: 0.5}}\n"
        "captions: {rules: []}\n"
        "training: {finetune: {epochs: 1.0}}\n"
    )
    miniature = loading.load("miniature")
    assert [score.column for score in recipe.scores] == ["ssim"]
    assert (recipe.selection.weights, recipe.selection.floor) == ({"ssim": 1.0}, {})
    assert recipe.selection.source_thresholds.mean == {"ssim": 0.5}
    assert recipe.selection.source_thresholds.share_above_floor == 0.85
    assert recipe.captions.rules == ()
    assert recipe.captions.text_form == miniature.captions.text_form
    assert recipe.training.finetune == miniature.training.finetune.model_copy(update={"epochs": 1.0})
    assert recipe.training.align == miniature.training.align


def test_a_part_of_another_kind_replaces_the_whole(load_text: Callable[[str], Recipe]) -> None:
    with pytest.raises(RecipeError) as caught:
        load_text("extends: miniature\ngenerator: {kind: endpoint, width: 64}\n")
    assert "mine.yaml:2: generator.kind: allowed here: diffusers" in str(caught.value)
    assert "mine.yaml:2: generator.height: Field required" in str(caught.value)  # the preset's does not count
    same = load_text("extends: miniature\ngenerator: {kind: diffusers, width: 32}\n").generator
    assert (same.width, same.height) == (32, 64)
    encoding = load_text("extends: paper\ngenerator: {encoding: {format: png}}\n").generator.encoding
    assert (encoding.format, encoding.quality) == ("png", None)


def test_a_key_may_be_put_back_to_none(load_text: Callable[[str], Recipe]) -> None:
    assert load_text("extends: paper\ngenerator: {refiner: null, high_noise_frac: null}\n").generator.refiner is None


def test_relative_paths_belong_to_the_file_in_which_they_stand(tmp_path: Path) -> None:
    (tmp_path / "base" / "model").mkdir(parents=True)
    (tmp_path / "base" / "words.txt").write_text("heck\n")
    (tmp_path / "mine").mkdir()
    (tmp_path / "base" / "base.yaml").write_text(
        "extends: miniature\n"
        "sources:\n"
        "  - {name: a, format: sbu, files: [data/*.txt, s3://bucket/x.txt, ~/y.txt, /z.txt], metadata_files: [u.txt]}\n"
        "captions:\n"
        "  rules:\n"
        "    - {rule: flagged_words, words: words.txt, max_ratio: 0.0}\n"
        "    - {rule: perplexity, model: {id: model}, max_ppl: 20.0}\n"
        "training:\n"
        "  instructions: talks.json\n"
        "  vision_tower: {id: openai/clip-vit-large-patch14-336}\n"
        "evaluation: {benchmarks: [{benchmark: questions, file: asked.jsonl}], texts: texts.txt}\n"
    )
    (tmp_path / "mine" / "mine.yaml").write_text("extends: ../base/base.yaml\nevaluation: {texts: own.txt}\n")
    recipe = loading.load(str(tmp_path / "mine" / "mine.yaml"))
    assert recipe.folder == str(tmp_path / "mine")
    [source] = recipe.sources
    assert source.files == ("../base/data/*.txt", "s3://bucket/x.txt", "~/y.txt", "/z.txt")
    assert source.beside == ("../base/u.txt",)
    words, perplexity = recipe.captions.rules
    assert isinstance(words, FlaggedWords)
    assert words.words == "../base/words.txt"
    assert perplexity.model.id == "../base/model"  # type: ignore[attr-defined]
    assert recipe.training.instructions == "../base/talks.json"
    assert recipe.training.vision_tower.id == "openai/clip-vit-large-patch14-336"  # no folder: a hub id
    assert recipe.evaluation.benchmarks[0].file == "../base/asked.jsonl"  # type: ignore[attr-defined]
    assert recipe.evaluation.texts == "own.txt"
    # what is no file beside the base is a word
    preset = of_kind(loading.load(str(tmp_path / "base" / "base.yaml")).captions.rules, FlaggedWords)
    assert isinstance(preset, FlaggedWords)
    (tmp_path / "base" / "base.yaml").write_text("extends: miniature\n")
    kept = of_kind(loading.load(str(tmp_path / "mine" / "mine.yaml")).captions.rules, FlaggedWords)
    assert isinstance(kept, FlaggedWords)
    assert kept.words == "better-profanity"


def test_packaged_files_do_not_move(load_text: Callable[[str], Recipe]) -> None:
    recipe = load_text("extends: miniature\n")
    assert recipe.sources == loading.load("miniature").sources


def test_extending_goes_over_several_files(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("extends: miniature\nseed: 1\nthreads: 3\n")
    (tmp_path / "two.yaml").write_text("extends: one.yaml\nseed: 2\n")
    (tmp_path / "three.yaml").write_text("extends: two.yaml\nname: three\n")
    recipe = loading.load(str(tmp_path / "three.yaml"))
    assert (recipe.name, recipe.seed, recipe.threads) == ("three", 2, 3)


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"mine": "name: x\nextends: mine.yaml\n"}, r"mine\.yaml:2: extends: mine\.yaml extends itself"),
        ({"mine": "extends: b.yaml\n", "b": "extends: mine.yaml\n"}, r"b\.yaml:1: extends: mine\.yaml extends itself"),
        ({"mine": "\nextends: gone.yaml\n"}, r"mine\.yaml:2: extends: no recipe 'gone\.yaml': .*miniature, paper"),
        (
            {"mine": "seed: 1\nextends: 3\n"},
            r"mine\.yaml:2: extends: the name of a preset or the path of a recipe, not 3",
        ),
        ({"mine": "extends: null\n"}, r"mine\.yaml:1: extends: the name of a preset"),
        ({"mine": "extends: b.yaml\n", "b": "a: ["}, r"b\.yaml:1: not a readable recipe"),
    ],
)
def test_what_cannot_be_extended_is_explained(tmp_path: Path, files: dict[str, str], said: str) -> None:
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        loading.load(str(tmp_path / "mine.yaml"))


BASE = """\
extends: miniature
generator:
  steps: 0
sources:
  - name: cc
    format: cc3m
    files: [cc.tsv]
  - name: wrong
    format: cc4m
    files: [cc.tsv]
selection:
  floor:
    clip: 0.5
"""


@pytest.mark.parametrize(
    ("own", "said"),
    [
        # of the base, where the base says it
        ("", [r"base\.yaml:3: generator\.steps: ", r"base\.yaml:9: sources\.1\.format: "]),
        # of the own file, where it says it
        ("generator: {steps: -1}\n", [r"mine\.yaml:2: generator\.steps: .*given: -1", r"base\.yaml:9: sources\.1"]),
        ("generator: {guidance: 1.0}\n", [r"mine\.yaml:2: generator\.guidance: unknown key", r"base\.yaml:3: gen"]),
        # a list replaces the base's: no line of that counts
        (
            "sources:\n  - name: own\n    files: [x]\n",
            [r"mine\.yaml:3: sources\.0\.format: missing", r"base\.yaml:3: g"],
        ),
        # of the preset
        ("training: {automatic: 1}\nseed: -1\n", [r"mine\.yaml:2: training\.automatic: ", r"mine\.yaml:3: seed: "]),
    ],
)
def test_an_error_names_the_file_that_says_it(tmp_path: Path, own: str, said: list[str]) -> None:
    (tmp_path / "base.yaml").write_text(BASE)
    (tmp_path / "mine.yaml").write_text(f"extends: base.yaml\n{own}")
    with pytest.raises(RecipeError) as caught:
        loading.load(str(tmp_path / "mine.yaml"))
    lines = str(caught.value).splitlines()
    for words in said:
        assert any(re.search(rf"^{tmp_path}/{words}", line) for line in lines), lines


def test_a_check_of_the_whole_names_the_file_that_says_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: miniature\nselection:\n  floor:\n    clip: 0.5\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nseed: 1\n")
    with pytest.raises(RecipeError, match=r"base\.yaml:3: selection\.floor: 'clip' is no score"):
        loading.load(str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nselection: {floor: {clop: 0.5}}\n")
    with pytest.raises(RecipeError, match=r"mine\.yaml:2: selection\.floor: 'clop' is no score"):
        loading.load(str(tmp_path / "mine.yaml"))


def test_every_value_of_a_loaded_recipe_has_a_place(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("extends: miniature\nname: mine\ngenerator:\n  steps: 4\n")
    loaded = loading.read(str(tmp_path / "mine.yaml"))
    preset = PRESETS / "miniature.yaml"
    assert loaded.place("generator.steps") == f"{tmp_path}/mine.yaml:4"
    assert loaded.place("generator.width") == f"{preset}:{line_of(MINIATURE, 'width: 64')}"
    assert loaded.place("sources.1.format") == f"{preset}:{line_of(MINIATURE, 'format: cc3m')}"
    assert loaded.place("sources.1.max_characters") == f"{preset}:{line_of(MINIATURE, '- name: cc')}"
    assert loaded.place("nothing.of.this") == f"{tmp_path}/mine.yaml:1"


def test_a_preset_is_found_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text("extends: miniature\n")
    assert loading.load("mine.yaml").folder == os.path.realpath(tmp_path)
    assert loading.load("miniature").folder == str(PRESETS.resolve())


def test_the_recipes_of_the_documentation_load(load_text: Callable[[str], Recipe]) -> None:
    text = (Path(__file__).parents[3] / "docs" / "captions.md").read_text()
    own, rules, originals, mending = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert load_text(own).sources[0].name == "web"
    listed = load_text("extends: miniature\n" + rules).captions.rules
    assert [rule.kind_name for rule in listed] == ["alphanumeric", "special_characters", "judge"]
    ways = [source.originals for source in load_text("extends: miniature\n" + originals).sources]
    assert [way.kind_name for way in ways if way] == ["img2dataset", "web"]
    mappers = load_text("extends: miniature\n" + mending).captions.mappers
    assert mappers == ("fix_unicode", "normalize_punctuation")


@pytest.mark.parametrize(
    ("written", "links"),
    [
        ("training: {automatic: false}\n", ()),
        ("training: {automatic: true}\n", ("training",)),
        ("training: {automatic: true}\nautomation: [images]\n", ("images", "training")),
        ("automation: [captions, set]\n", ("captions", "set")),
        ("", ("training",)),
    ],
)
def test_what_an_earlier_version_called_automatic_is_a_link(
    tmp_path: Path, written: str, links: tuple[str, ...]
) -> None:
    """Recipes were released with sets; they load as long as the sets are there."""
    file = tmp_path / "mine.yaml"
    file.write_text(f"extends: miniature\nname: mine\n{written}")
    assert loading.load(str(file)).automation == links
    resolved = json.loads(loading.dumps(loading.load("miniature")))
    del resolved["automation"]
    resolved["training"]["automatic"] = True
    assert loading.loads(json.dumps(resolved)).automation == ("training",)
