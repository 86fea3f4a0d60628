"""Every kind of wrong is told with file, line, key and remedy, and all of them at once."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from synthvlm_core.checking import Problem, problems
from synthvlm_core.evaluation import perplexity
from synthvlm_core.recipe import documents, loading
from synthvlm_core.store.objects import Store
from synthvlm_miniature import __file__ as miniature_package

MODELS = Path(miniature_package).parent / "models"
COMMIT = "0123456789abcdef0123456789abcdef01234567"

Check = Callable[[str], list[Problem]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Check a recipe that extends the miniature and says so much of its own."""

    def checked(own: str) -> list[Problem]:
        file = tmp_path / "mine.yaml"
        file.write_text(f"extends: miniature\nname: mine\n{own}")
        return problems(loading.read(str(file)))

    return checked


def only(found: list[Problem]) -> Problem:
    assert len(found) == 1, [str(problem) for problem in found]
    return found[0]


def test_the_miniature_has_no_problem() -> None:
    assert problems(loading.read("miniature")) == []


def test_missing_source_files_are_told_pattern_by_pattern(check: Check, tmp_path: Path) -> None:
    (tmp_path / "there.tsv").write_text("a caption\thttps://example.com/1.jpg\n")
    found = check(
        """
sources:
  - name: cc
    format: cc3m
    files:
      - there.tsv
      - gone/*.tsv
      - lost.tsv
  - name: datacomp
    format: datacomp_blip2
    files: [there.tsv]
    metadata_files: [gone.parquet]
"""
    )
    assert [(problem.place, problem.key) for problem in found] == [
        (f"{tmp_path}/mine.yaml:9", "sources.0.files.1"),
        (f"{tmp_path}/mine.yaml:10", "sources.0.files.2"),
        (f"{tmp_path}/mine.yaml:14", "sources.1.metadata_files.0"),
    ]
    for problem, pattern in zip(found, ("gone/*.tsv", "lost.tsv", "gone.parquet"), strict=True):
        assert problem.level == "wrong"
        assert f"{pattern} matches no file (looked in {tmp_path})" in problem.message
        assert "Put the files there or correct the recipe" in problem.message


def test_files_that_belong_together_and_do_not_pair_up(check: Check, tmp_path: Path) -> None:
    for name in ("captions-1.txt", "captions-2.txt", "urls-1.txt"):
        (tmp_path / name).write_text("x\n")
    found = only(
        check("sources: [{name: sbu, format: sbu, files: ['captions-*.txt'], metadata_files: ['urls-*.txt']}]\n")
    )
    assert (found.level, found.key) == ("wrong", "sources.0")
    assert "2 caption files but 1 url lists" in found.message


MODEL_KEYS = {
    "generator.model": "generator: {model: %s}",
    "scores.0.model": "scores: [{score: clip_score, model: %s, architecture: miniature}, "
    "{score: ssim, shrink_to: 32, resample: bicubic, channels: rgb}]",
    "training.vision_tower": "training: {vision_tower: %s}",
    "training.variants.0.language_model": "training: {variants: [{name: a, language_model: %s, selection: random}]}",
    "captions.rules.0.model": "captions: {rules: [{rule: perplexity, model: %s, max_ppl: 20.0}]}",
}


@pytest.mark.parametrize("key", MODEL_KEYS)
@pytest.mark.parametrize(
    ("model", "at", "said"),
    [
        ("{id: ./gone}", "id", ["no folder", "is no hub id like 'owner/name'"]),
        ("{id: package:nobody/models}", "id", ["no installed package 'nobody'", "install it or correct the name"]),
        ("{id: package:synthvlm_miniature/gone}", "id", ["no folder", "synthvlm_miniature/gone"]),
        ("{id: owner/name}", "revision", ["is missing", "hub id", "Give its 40 hex digits", "git ls-remote"]),
        ("{id: owner/name, revision: main}", "revision", ["is 'main', which can move", "Give its 40 hex digits"]),
        (f"{{id: own..er/name, revision: {COMMIT}}}", "id", ["own..er/name"]),
        ("{id: pickled}", "id", ["pickled weights only (.bin)", "save_pretrained", "safe_serialization=True"]),
        ("{id: empty}", "id", ["no .safetensors file"]),
    ],
)
def test_a_model_that_cannot_be_loaded(
    check: Check, tmp_path: Path, key: str, model: str, at: str, said: list[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "pickled").mkdir()
    (tmp_path / "pickled" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    found = only(check(MODEL_KEYS[key] % model))
    assert (found.level, found.key, found.place) == ("wrong", f"{key}.{at}", f"{tmp_path}/mine.yaml:3")
    for words in said:
        assert words in found.message


def test_a_hub_model_is_fetched_when_it_is_needed(check: Check) -> None:
    found = only(check(f"training: {{vision_tower: {{id: owner/name, revision: {COMMIT}}}}}\n"))
    assert (found.level, found.key) == ("needed", "training.vision_tower.id")
    assert found.message == f"owner/name at {COMMIT}"


@pytest.mark.parametrize(
    ("own", "key", "said"),
    [
        (
            "captions: {rules: [{rule: flagged_words, words: gone.txt, max_ratio: 0.0}]}",
            "captions.rules.0.words",
            ["gone.txt", "cannot be read", "'better-profanity' or a readable path"],
        ),
        (
            "captions: {rules: [{rule: flagged_words, words: empty.txt, max_ratio: 0.0}]}",
            "captions.rules.0.words",
            ["no single word in it", "put one word on each line"],
        ),
        (
            "captions: {rules: [{rule: flagged_words, words: 's4://bucket/x', max_ratio: 0.0}]}",
            "captions.rules.0.words",
            ["Protocol not known: s4"],
        ),
        ("training: {instructions: gone.json}", "training.instructions", ["no file", "gone.json", "correct the name"]),
        ("training: {instructions: 's3://bucket/mix.json'}", "training.instructions", ["is a URL", "copy the file"]),
        (
            "training: {instructions: package:nobody/mix.json}",
            "training.instructions",
            ["no installed package 'nobody'", "install it or correct the name"],
        ),
        (
            "training: {instructions: package:synthvlm_miniature/../../x.json}",
            "training.instructions",
            ["leads out of its package"],
        ),
        ("evaluation: {texts: gone.txt}", "evaluation.texts", ["no file", "gone.txt", "correct the name"]),
        (
            "evaluation: {benchmarks: [{benchmark: questions, file: gone.jsonl}]}",
            "evaluation.benchmarks.0.file",
            ["no file", "gone.jsonl", "correct the name"],
        ),
        (
            "evaluation: {benchmarks: [{benchmark: questions, file: empty.txt}]}",
            "evaluation.benchmarks.0",
            ["empty.txt: no question", "give one a line"],
        ),
        (
            "evaluation: {benchmarks: [{benchmark: questions, file: pictureless.jsonl}]}",
            "evaluation.benchmarks.0",
            ["pictureless.jsonl:1", "no picture 'x.png'", "add it"],
        ),
        ("generator: {scheduler: NobodyScheduler}", "generator.scheduler", ["NobodyScheduler"]),
    ],
)
def test_what_else_is_not_there(check: Check, tmp_path: Path, own: str, key: str, said: list[str]) -> None:
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "pictureless.jsonl").write_text(
        '{"id": "1", "picture": "x.png", "kind": "any", "question": "what is this?"}\n'
    )
    found = only(check(own))
    assert (found.level, found.key, found.place) == ("wrong", key, f"{tmp_path}/mine.yaml:3")
    for words in said:
        assert words in found.message


def test_all_is_told_at_once_in_the_order_of_the_recipe(check: Check) -> None:
    found = check(
        """
sources: [{name: cc, format: cc3m, files: [gone.tsv]}]
captions:
  rules:
    - {rule: perplexity, scorer: kenlm, model: {id: gone.bin}, max_ppl: 20.0}
    - {rule: flagged_words, words: gone.txt, max_ratio: 0.0}
generator:
  model: {id: ./gone}
  scheduler: NobodyScheduler
training:
  instructions: gone.json
evaluation:
  benchmarks:
    - {benchmark: questions, file: gone.jsonl}
  texts: gone.txt
"""
    )
    assert [(problem.level, problem.key) for problem in found] == [
        ("wrong", "sources.0.files.0"),
        ("not applied", "captions.rules.0"),
        ("wrong", "captions.rules.1.words"),
        ("wrong", "generator.model.id"),
        ("wrong", "generator.scheduler"),
        ("wrong", "training.instructions"),
        ("wrong", "evaluation.benchmarks.0.file"),
        ("wrong", "evaluation.texts"),
    ]


def test_the_paper_names_what_is_left_out_and_what_is_missing() -> None:
    found = problems(loading.read("paper"))
    by_level: dict[str, list[Problem]] = {}
    for problem in found:
        by_level.setdefault(problem.level, []).append(problem)
    assert [(problem.part, problem.key) for problem in by_level["not applied"]] == [
        *(("lmms_eval", f"evaluation.benchmarks.{number}") for number in range(10)),
        ("", "evaluation"),
    ]
    assert [problem.key for problem in by_level["wrong"]] == [
        "sources.0.files.0",
        "sources.0.metadata_files.0",
        "sources.1.files.0",
        "sources.2.files.0",
        "sources.3.files.0",
        "captions.rules.3.model",
        "captions.rules.3.sentencepiece",
        "training.instructions",
    ]
    assert [problem.key for problem in by_level["needed"]] == [
        "captions.rules.6.model.id",
        "captions.rules.7.model.id",
        "generator.model.id",
        "generator.refiner.id",
        "scores.0.model.id",
        "training.vision_tower.id",
        *(f"training.variants.{number}.language_model.id" for number in range(3)),
    ]
    lines = (documents.PRESETS / "paper.yaml").read_text().splitlines()
    for problem, words in (
        (by_level["not applied"][0], "benchmark: lmms_eval, name: scienceqa"),
        (by_level["wrong"][-1], "instructions: data/llava"),
        (by_level["needed"][0], "id: Salesforce/blip-itm-base-coco"),
    ):
        assert words in lines[problem.line - 1]


def test_what_a_part_that_is_left_out_names_is_not_asked_for(check: Check) -> None:
    """Nobody needs the files of a scorer that this version does not have."""
    found = only(check("captions: {rules: [{rule: perplexity, scorer: kenlm, model: {id: gone.bin}, max_ppl: 2.0}]}"))
    assert (found.level, found.part) == ("not applied", "perplexity")


def test_a_part_that_no_run_can_leave_out_is_wrong(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    from synthvlm_core.images.generators.diffusers import Diffusers

    monkeypatch.setattr(Diffusers, "unavailable", lambda self, context: "no accelerator here; take a smaller model")
    found = only(check("seed: 1\n"))
    assert (found.level, found.key, found.part) == ("wrong", "generator", "diffusers")
    assert "take a smaller model" in str(found)


def test_inherited_wrong_is_told_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("extends: miniature\ntraining: {instructions: gone.json}\n")
    (tmp_path / "mine.yaml").write_text("extends: base.yaml\nname: mine\n")
    found = only(problems(loading.read(str(tmp_path / "mine.yaml"))))
    assert found.place == f"{tmp_path}/base.yaml:2"


def test_a_copied_preset_is_as_good_as_the_preset(tmp_path: Path) -> None:
    shutil.copy(documents.PRESETS / "miniature.yaml", tmp_path / "mine.yaml")
    assert problems(loading.read(str(tmp_path / "mine.yaml"))) == []


def test_a_models_folder_beside_the_recipe(check: Check, tmp_path: Path) -> None:
    shutil.copytree(MODELS / "clip-vision", tmp_path / "tower")
    assert check("training: {vision_tower: {id: tower}}\n") == []


def one_source(pattern: str) -> str:
    return yaml.safe_dump({"sources": [{"name": "cc", "format": "cc3m", "files": [pattern]}]})


POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 17\n"
CSV = "format: csv, columns: {text: caption}"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "format: cc3m, files: [table.parquet]",
            "is a .parquet file, and this source's format reads text. Correct the",
        ),
        (
            "format: cc3m, files: [parquet.tsv]",
            "is a .parquet file by its first bytes, not by its name. Rename it to …",
        ),
        (
            "format: laion, files: [some.csv]",
            "is no Parquet file: it looks like a CSV of 2 columns, its header caption",
        ),
        (
            f"{CSV}, files: [other.csv]",
            "its header has no column 'caption'; it has 'text', 'url'. Correct columns.text",
        ),
        (
            "format: jsonl, columns: {text: caption}, files: [lines.jsonl]",
            "none of its first objects has a key 'caption",
        ),
        (
            "format: cc3m, files: [some.csv]",
            "none of its first 2 rows is a caption (not 2 columns); it looks",
        ),
        (f"{CSV}, files: [header.csv]", "header.csv holds no row; put captions there, or take it out of the recipe"),
        (f"{CSV}, files: [pointer.csv]", "is a pointer of Git LFS, not the file itself; fetch it: git"),
        ("format: laion, files: [pointer.parquet]", "is a pointer of Git LFS, not the file itself; fetch it"),
        (
            "format: img2dataset, files: [pointer.tar]",
            "is a pointer of Git LFS, not the file itself; fetch it",
        ),
        ("format: laion, files: ['*.parquet']", "pointer.parquet is a pointer of Git LFS, not the file itself; fetch"),
        (f"{CSV}, files: ['s3://']", "names no bucket. Write s3://BUCKET/FILE"),
        (f"{CSV}, files: ['az://box/a.csv']", "az:// needs adlfs, which is not installed. pip install adlfs"),
        (f"{CSV}, files: ['foo://box/a.csv']", "foo:// is no place for sources. Sources are local paths and URLs of"),
        (f"{CSV}, files: []", "is empty; give at least one"),
    ],
)
def test_what_is_wrong_with_a_sources_files(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    monkeypatch.setitem(sys.modules, "adlfs", None)
    for name in ("table.parquet", "parquet.tsv"):
        pq.write_table(pa.table({"TEXT": ["a red ball"], "URL": ["https://example.com/1.jpg"]}), tmp_path / name)
    for name, text in {
        "some.csv": "caption,link\na red ball,https://example.com/1.jpg\n",
        "other.csv": "text,url\na red ball,https://example.com/1.jpg\n",
        "header.csv": "caption,link\n",
        "lines.jsonl": '{"text": "a red ball"}\n',
        **dict.fromkeys(("pointer.csv", "pointer.parquet", "pointer.tar"), POINTER),
    }.items():
        (tmp_path / name).write_text(text)
    found = only(check(f"sources: [{{name: own, {source}}}]\n"))
    assert (found.level, found.place) == ("wrong", f"{tmp_path}/mine.yaml:3")
    assert found.key.startswith(("sources.0.files", "sources.0.columns.text"))
    assert said in found.message


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    """As spreadsheets and editors on Windows write it."""
    for name, text in {
        "mine.yaml": f"extends: miniature\nname: mine\nsources:\n- {{name: a, {CSV}, files: [a.csv]}}\n"
        "- {name: b, format: jsonl, columns: {text: caption}, files: [b.jsonl]}\n"
        "- {name: c, format: cc3m, files: [c.tsv]}\n- {name: d, format: sbu, files: [d.json]}\n"
        "training: {instructions: mix.json}\n"
        "evaluation: {texts: texts.txt, benchmarks: [{benchmark: questions, file: asked.jsonl}]}\n",
        "a.csv": "caption,link\na red ball,https://example.com/1.jpg\n",
        "b.jsonl": '{"caption": "a red ball"}\n',
        "c.tsv": "a red ball\thttps://example.com/1.jpg\n",
        "d.json": '{"captions": ["a red ball"], "image_urls": ["https://example.com/1.jpg"]}',
        "mix.json": '[{"conversations": [{"from": "human", "value": "a?"}, {"from": "gpt", "value": "b"}]}]',
        "texts.txt": "one\ntwo\n",
        "asked.jsonl": '{"id": "1", "picture": null, "kind": "any", "question": "what?"}\n',
    }.items():
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert problems(loading.read(str(tmp_path / "mine.yaml"))) == []
    assert perplexity.read_texts(tmp_path / "texts.txt") == ["one", "two"]


def test_mistakes_and_missing_files_are_told_together(check: Check) -> None:
    found = check(
        """
sources:
  - name: own
    format: csv
    files: [gone.csv]
    colums: {text: caption}
captions:
  rules:
    - {rule: alphanumeric, min_ratio: 7}
    - {rule: flagged_words, words: gone.txt, max_ratio: 0.0}
generator: {scheduler: DDIMSheduler}
selection:
  weights: {clip: 1.0}
  floor: {sim: 1.0}
training:
  instructions: gone.json
  vision_tower: {id: ./gone}
evaluation:
  benchmarks: [mmbnech]
  texts: gone.txt
"""
    )
    assert {problem.level for problem in found} == {"wrong"}
    assert [(problem.line, problem.key) for problem in found] == [
        (5, "sources.0.columns"),
        (7, "sources.0.files.0"),
        (8, "sources.0.colums"),
        (11, "captions.rules.0.min_ratio"),
        (12, "captions.rules.1.words"),
        (13, "generator.scheduler"),
        (15, "selection.weights"),
        (16, "selection.floor"),
        (18, "training.instructions"),
        (19, "training.vision_tower.id"),
        (21, "evaluation.benchmarks.0.benchmark"),
        (22, "evaluation.texts"),
    ]
    assert "did you mean 'columns'?" in found[2].message
    assert "did you mean 'ssim'?" in found[7].message


def test_all_that_does_not_fit_together_is_told_at_once(check: Check) -> None:
    found = check("selection: {weights: {clip: 1.0}, floor: {sim: 1.0}, may_be_empty: [laoin]}\n")
    assert [problem.key for problem in found] == ["selection.weights", "selection.floor", "selection.may_be_empty"]


def test_a_bucket_without_the_files(check: Check, s3_store: Store) -> None:
    bucket = s3_store.root.partition("/")[0]
    for pattern in (f"s3://{bucket}/gone.tsv", f"s3://{bucket}/gone/*.tsv"):
        found = only(check(one_source(pattern)))
        assert (found.level, found.key) == ("wrong", "sources.0.files.0")
        assert f"{pattern} matches no file. Put the files there" in found.message
    for pattern in ("s3://no-such-bucket/a.tsv", "s3://no-such-bucket/*.tsv"):
        assert (
            f"{pattern} matches no file: there is no bucket no-such-bucket" in only(check(one_source(pattern))).message
        )
    s3_store.fs.pipe_file(f"{bucket}/there.tsv", b"a caption\thttps://example.com/1.jpg\n")
    assert check(one_source(f"s3://{bucket}/*.tsv")) == []


def test_a_bucket_without_credentials(
    check: Check, s3_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    type(s3_store.fs).clear_instance_cache()
    for pattern in ("s3://bucket/a.tsv", "s3://bucket/*.tsv"):
        told = only(check(one_source(pattern))).message
        assert (
            f"{pattern} cannot be listed: there are no credentials for it. Set AWS_PROFILE, or AWS_ACCESS_KEY" in told
        )
    type(s3_store.fs).clear_instance_cache()


def test_a_bucket_that_cannot_be_reached(check: Check, s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import s3fs

    options: dict[str, Any] = {"config_kwargs": {"retries": {"max_attempts": 0}, "connect_timeout": 1}}
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(s3fs.S3FileSystem, "__init__", lately(s3fs.S3FileSystem.__init__, options))
    monkeypatch.setattr(s3fs.S3FileSystem, "retries", 1)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        found = check(
            one_source("s3://bucket/a.tsv") + "captions: {rules: [{rule: flagged_words, words: "
            "'s3://bucket/words.txt', max_ratio: 0.0}]}\n"
        )
    finally:
        s3fs.S3FileSystem.clear_instance_cache()
    assert [problem.key for problem in found] == ["sources.0.files.0", "captions.rules.0.words"]
    assert "s3://bucket/a.tsv cannot be listed" in found[0].message
    assert "Check access to it" in found[0].message
    assert "s3://bucket/words.txt cannot be read" in found[1].message


def lately(init: Callable[..., None], options: dict[str, Any]) -> Callable[..., None]:
    """A constructor with further options, so that a test does not wait for retries."""

    def made(self: Any, *args: Any, **kwargs: Any) -> None:
        init(self, *args, **{**kwargs, **options})

    return made


@pytest.mark.parametrize("pattern", ["s4://bucket/a.tsv", "gs://bucket/a.tsv"])
def test_a_store_that_nobody_knows(check: Check, pattern: str) -> None:
    found = only(check(one_source(pattern)))
    assert found.key == "sources.0.files.0"
    assert f"{pattern} cannot be listed" in found.message
