"""Captions that share words with a benchmark's texts are found, told by which, and kept out."""

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.captions.checks import kept_captions_pass_every_rule
from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.captions.rules.benchmark_texts import Index, Place, texts
from synthvlm_core.captions.rules.decontamination import Decontamination
from synthvlm_core.errors import Mendable
from synthvlm_core.parts.rule import CaptionContext
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
TEXTS = ["What colour is the ball?", "", "A man, a plan; a canal"]
WORDS = st.lists(st.sampled_from("abc"), max_size=9)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.txt").write_text("\n".join(TEXTS))
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS))
    (tmp_path / "a.csv").write_text("id,text\n" + "\n".join(f'1,"{text}"' for text in TEXTS))
    (tmp_path / "a.tsv").write_text("id\ttext\n" + "\n".join(f"1\t{text}" for text in TEXTS))
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "a.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv", "a.tsv", "a.parquet"])
def test_every_form_gives_the_texts(folder: Path, name: str) -> None:
    assert list(texts(name, str(folder), "text")) == TEXTS


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("gone.txt", None, "gone.txt: no such file on this machine"),
        ("s3://bucket/a.txt", None, "s3://bucket/a.txt: no such file on this machine"),
        ("a.pdf", b"", "a.pdf: must be one of .txt, .jsonl"),
        ("b.jsonl", b'{"question": "?"}', "b.jsonl: no column 'text'; name one that is there"),
        ("b.jsonl", b'{"text": 3}', "row 0: 'text' is no text"),
        ("b.jsonl", b"[1]", "row 0: 'text' is no text"),
        ("b.jsonl", b"{", "b.jsonl: cannot be read"),
        ("b.txt", b"\xff\xfe", "b.txt: cannot be read"),
        ("b.parquet", b"PAR1", "b.parquet: cannot be read"),
        ("b.csv", b"question\n?", "b.csv: no column 'text'"),
    ],
)
def test_what_cannot_be_read_is_told(folder: Path, name: str, content: bytes | None, told: str) -> None:
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(Mendable) as error:
        list(texts(name, str(folder), "text"))
    assert told in str(error.value)
    rule = Decontamination(rule="decontamination", benchmarks=("a.txt", name))
    problem = rule.problem(CaptionContext(str(folder), 0, 1, "bare", ()))
    assert problem is not None
    assert problem.startswith("benchmarks: ")


@given(st.lists(WORDS, max_size=5), WORDS, st.integers(1, 6), st.integers(1, 4))
def test_shared_runs_are_those_of_a_plain_search(
    benchmark: list[list[str]], caption: list[str], ngram: int, shortest: int
) -> None:
    index = Index(ngram, shortest)
    grams = set()
    for row, text in enumerate(benchmark):
        index.add(" ".join(text), Place("file", row))
        size = min(ngram, len(text))
        if size >= shortest:
            grams |= {tuple(text[first : first + size]) for first in range(len(text) - size + 1)}
    expected = [
        " ".join(caption[first : first + size])
        for size in sorted({len(gram) for gram in grams}, reverse=True)
        for first in range(len(caption) - size + 1)
        if tuple(caption[first : first + size]) in grams
    ]
    assert [gram for gram, _ in index.shared("  ".join(caption).upper() + "!")] == expected


def test_what_is_shared_is_kept_out_and_told(
    store: Store, small_recipe: Recipe, edited: Edit, source_files: Path
) -> None:
    [text] = [
        text
        for table in _raw(store, small_recipe).captions(["text"])
        for text in table["text"].to_pylist()
        if text.startswith("a small red circle beside")
    ][:1]
    (source_files / "bench.txt").write_text(f"unlike anything else that is here\nQ: {text.upper()}?\n")
    rule = {"rule": "decontamination", "benchmarks": ["bench.txt"], "ngram": 8}
    recipe = edited(small_recipe, {"captions.rules": [rule]})
    stage = FilteredCaptions(store, recipe, "laion")
    stage.make()
    [rejected] = stage.rejected(["text", "rule"])
    assert text in rejected["text"].to_pylist()
    assert set(rejected["rule"].to_pylist()) == {"decontamination"}
    assert kept_captions_pass_every_rule(stage).passed
    [one] = recipe.captions.rules
    told = one.counted(text, CaptionContext(recipe.folder, 0, 1, "bare", ()))
    assert told[0].endswith(" (bench.txt, row 1)")
    before = stage.key
    (source_files / "bench.txt").write_text("something else altogether, it has many words\n")
    assert FilteredCaptions(store, recipe, "laion").key != before
    assert FilteredCaptions(store, recipe, "laion").make()["rejected"] == 0


def _raw(store: Store, recipe: Recipe) -> RawCaptions:
    stage = RawCaptions(store, recipe, "laion")
    stage.make()
    return stage
