"""KenLM's perplexity is Data-Juicer's, on models small enough to check by hand."""

import math
from pathlib import Path

import pytest
from sentencepiece import SentencePieceTrainer

from synthvlm_core.errors import RecipeError
from synthvlm_core.models import kenlm
from synthvlm_core.models.kenlm import ModelFile, Scorer

CAPTIONS = [
    "a red ball on a blue box",
    "two dogs run over the green grass",
    "a man with a red hat stands beside a blue car",
    "the ball is under the box",
]
ARPA = """\\data\\
ngram 1=5
ngram 2=3

\\1-grams:
-1.5\t<unk>\t0
-99\t<s>\t-0.3
-0.9\t</s>\t0
-0.7\t▁a\t-0.2
-1.1\t▁ball\t-0.1

\\2-grams:
-0.25\t<s>\t▁a
-0.5\t▁a\t▁ball
-0.4\t▁ball\t</s>

\\end\\
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of two words, and a sentencepiece model of some captions."""
    folder = tmp_path_factory.mktemp("kenlm")
    (folder / "en.arpa").write_text(ARPA)
    (folder / "captions.txt").write_text("\n".join(CAPTIONS * 20))
    SentencePieceTrainer.train(
        input=str(folder / "captions.txt"),
        model_prefix=str(folder / "en.sp"),
        vocab_size=60,
        hard_vocab_limit=False,
        user_defined_symbols=["▁a", "▁ball"],
        minloglevel=2,
    )
    return folder


@pytest.fixture(scope="module")
def scorer(files: Path) -> Scorer:
    return Scorer(file(files, "en.arpa"), file(files, "en.sp.model"))


def file(folder: Path, name: str) -> ModelFile:
    return kenlm.model_file(name, str(folder), "model")


def test_the_value_is_that_of_the_file_of_numbers(scorer: Scorer) -> None:
    """-0.25, -0.5, -0.4 for two words and the end; -0.1 - 0.7 and -0.2 - 0.9 where no pair is known."""
    assert scorer.perplexities(["a ball"]).tolist() == [round(10 ** ((0.25 + 0.5 + 0.4) / 3), 1)]
    assert scorer.perplexities(["a ball a"]).tolist() == [round(10 ** ((0.25 + 0.5 + 0.8 + 1.1) / 4), 1)]


def test_it_is_data_juicers_formula(files: Path, scorer: Scorer) -> None:
    """Its operator, word for word, on texts with lines, blanks and letters that nobody has seen."""
    import kenlm as library
    from sentencepiece import SentencePieceProcessor

    model, pieces = library.Model(str(files / "en.arpa")), SentencePieceProcessor(str(files / "en.sp.model"))
    texts = [*CAPTIONS, "", " ", "<image>\nA ball <|__dj__eoc|>", "一个球\u2028two\x0blines", "é" * 500, "\u200b"]
    expected = []
    for text in texts:
        logits, length = 0, 0
        for line in " ".join(pieces.encode_as_pieces(text)).splitlines():
            logits += model.score(line)
            length += len(line.split()) + 1
        expected.append(round((10.0 ** (-logits / length)) if length != 0 else 0.0, 1))
    done: list[int] = []
    assert scorer.perplexities(texts, on_progress=done.append).tolist() == expected
    assert done == [len(texts)]
    assert expected[texts.index("")] == 0.0
    assert all(math.isfinite(value) for value in expected)


def test_the_bytes_identify_a_file_and_its_name_does_not(files: Path, tmp_path: Path) -> None:
    (tmp_path / "copy.arpa").write_bytes((files / "en.arpa").read_bytes())
    assert file(tmp_path, "copy.arpa").identity == file(files, "en.arpa").identity
    assert file(files, "en.sp.model").identity != file(files, "en.arpa").identity
    commit = "0123456789" * 4
    of_hub = [file(files, f"hf://owner/name@{commit}/en.arpa.{end}").identity for end in ("bin", "txt", "bin")]
    assert (of_hub[0] == of_hub[2], of_hub[0] == of_hub[1]) == (True, False)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("gone.bin", "model: no file .*gone.bin on this machine; give a path, or hf://"),
        ("s3://bucket/en.bin", "model: no file s3://bucket/en.bin on this machine"),
        ("hf://owner/name/en.bin", "model: hf://owner/name/en.bin is no file of a hub at a commit"),
        ("en.sp.model", "model: .*en.sp.model is no model of KenLM"),
        ("pointer", "model: .*Git LFS"),
    ],
)
def test_what_is_no_model_is_told(files: Path, name: str, told: str) -> None:
    (files / "pointer").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(RecipeError, match=told):
        Scorer(file(files, name), file(files, "en.sp.model"))


def test_what_is_no_sentencepiece_model_is_told(files: Path) -> None:
    with pytest.raises(RecipeError, match="is no sentencepiece model"):
        Scorer(file(files, "en.arpa"), file(files, "en.arpa"))
