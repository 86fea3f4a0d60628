"""Reading the flagged words: the forms a list may have, its identity, and what is refused."""

import json
from pathlib import Path

import fsspec
import pytest

from synthvlm_core.captions.rules import word_lists
from synthvlm_core.errors import Mendable


def test_the_shipped_list_loads_and_names_its_version() -> None:
    shipped = word_lists.load("better-profanity")
    assert len(shipped.words) > 500
    assert all(word == word.lower() and len(word.split()) == 1 for word in shipped.words)
    assert shipped.origin == "better-profanity 0.7.0"


def test_the_digest_follows_the_words_and_not_the_format(tmp_path: Path) -> None:
    files = {
        "plain.txt": b"# a list\n\nheck\n  Darn  # mild\ntwo words\n",
        "bom.txt": "\ufeffdarn\r\nheck\r\nheck".encode(),
        "list.json": json.dumps(["heck", "darn"]).encode(),
        "datajuicer.json": json.dumps({"en": ["darn", "heck", "two words"], "fr": ["zut"]}).encode(),
    }
    loaded = []
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
        loaded.append(word_lists.load(str(tmp_path / name)))
        assert loaded[-1].origin == str(tmp_path / name)
    assert {entry.words for entry in loaded} == {frozenset({"heck", "darn"})}
    assert len({entry.sha256 for entry in loaded}) == 1
    (tmp_path / "other.txt").write_text("heck")
    assert word_lists.load(str(tmp_path / "other.txt")).sha256 != loaded[0].sha256


def test_a_word_may_hold_the_comment_sign(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("f#ck\n#comment\nheck #comment\n")
    assert word_lists.load(str(tmp_path / "words.txt")).words == {"f#ck", "heck"}


def test_a_url_is_read_through_fsspec() -> None:
    with fsspec.open("memory://flagged/words.txt", "wb") as file:
        file.write(b"heck\n")
    assert word_lists.load("memory://flagged/words.txt").words == {"heck"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"# nothing\n", "no single word"),
        ("latin.txt", "caf\xe9".encode("latin-1"), "not UTF-8"),
        ("broken.json", b"[", "not JSON"),
        ("deep.json", b"[" * 100_000, "not JSON"),
        ("other.json", b'{"fr": ["zut"]}', "needs a list"),
        ("numbers.json", b"[1]", "needs a list"),
        ("half.json", b'["\\ud800"]', "surrogate"),
        ("pointer.txt", b"version https://git-lfs.github.com/spec/v1\nsize 9\n", "fetch it: git lfs pull"),
        ("huge.txt", b"a" * (word_lists.MAX_FILE_BYTES + 1), "over"),
    ],
)
def test_an_unusable_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        word_lists.load(str(tmp_path / name))
    assert name in str(caught.value)


@pytest.mark.parametrize("spec", ["missing.txt", ".", "nosuchprotocol://x/words.txt"])
def test_a_list_that_cannot_be_read_is_refused_by_name(spec: str) -> None:
    with pytest.raises(Mendable, match=r"cannot be read|Protocol not known") as caught:
        word_lists.load(spec)
    assert spec in str(caught.value)


def test_a_relative_path_starts_at_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("heck\n")
    assert word_lists.load("mine.txt", str(tmp_path)).words == {"heck"}
    with pytest.raises(Mendable, match=rf"word list other\.txt: {tmp_path}/other\.txt cannot be read"):
        word_lists.load("other.txt", str(tmp_path))
