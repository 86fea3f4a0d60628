import fcntl
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import TypedDict

from synthvlm_core.machine import Unusable
from synthvlm_core.store.documents import Below, Count, Hash, document
from synthvlm_core.store.objects import DamagedDocument, DamagedObject, Store


def test_put_creates_once(any_store: Store) -> None:
    path = any_store.path("a", "b.bin")
    assert any_store.put(path, b"first")
    assert not any_store.put(path, b"second")
    assert any_store.get(path) == b"first"


def test_replace_overwrites(any_store: Store) -> None:
    path = any_store.path("a", "b.json")
    assert any_store.get_json(path, dict[str, Any]) is None
    any_store.put_json(path, {"n": 1})
    any_store.put_json(path, {"n": 2})
    assert any_store.get_json(path, dict[str, Any]) == {"n": 2}


def test_files_lists_whole_objects_only(any_store: Store) -> None:
    assert any_store.files(any_store.path("nowhere"), ".parquet") == []
    for name in ("b.parquet", "a.parquet", "c.json", "sub/d.parquet"):
        any_store.put(any_store.path("t", name), b"x")
    assert any_store.files(any_store.path("t"), ".parquet") == ["a.parquet", "b.parquet"]


def test_set_aside_moves_out_of_sight(any_store: Store) -> None:
    path = any_store.path("t", "bad.parquet")
    any_store.put(path, b"damage")
    target = any_store.set_aside(path)
    assert any_store.files(any_store.path("t"), ".parquet") == []
    assert any_store.get(target) == b"damage"


def test_two_writers_at_once_and_the_first_wins(any_store: Store) -> None:
    path = any_store.path("race")
    won: list[int] = []
    ready = threading.Barrier(8)

    def write(number: int) -> None:
        ready.wait()
        if any_store.put(path, bytes([number]) * 100_000):
            won.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert any_store.get(path) == bytes(won) * 100_000


def test_a_failed_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(Unusable, match=r"/store/t/x: no space is left there; make room or name another place"):
        store.put(store.path("t", "x"), b"data")
    assert list(Path(store.root, "t").iterdir()) == []


def test_what_a_killed_writer_left_is_removed_by_the_next_who_writes_there(store: Store) -> None:
    """A writer holds its temporary file locked before there is a byte in it: one with bytes that nobody holds has no
    writer any more, an empty one may have one that is about to lock it."""
    store.put(store.path("t", "first"), b"x")
    folder = Path(store.root, "t")
    dead, alive, young = folder / ".dead.tmp", folder / ".alive.tmp", folder / ".young.tmp"
    empty = folder / ".empty.tmp"
    for left in (dead, alive):
        left.write_bytes(b"half")
    for left in (young, empty):
        left.touch()
    os.utime(empty, (0, 0))
    with alive.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        Store(store.root).put(store.path("t", "second"), b"x")
    assert sorted(path.name for path in folder.iterdir()) == [".alive.tmp", ".young.tmp", "first", "second"]


def test_no_writer_of_a_new_object_leaves_anything_however_it_dies(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    link = os.link

    def looking(*arguments: Any, **options: Any) -> None:
        seen.extend(path.name for path in Path(store.root, "t").iterdir())
        link(*arguments, **options)

    monkeypatch.setattr(os, "link", looking)
    assert store.put(store.path("t", "a"), b"x")
    assert not store.put(store.path("t", "a"), b"y")
    assert seen == ["a"], "before the first nothing, before the second the first"
    assert store.get(store.path("t", "a")) == b"x"


def test_a_file_system_without_nameless_files_has_temporary_ones(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "O_TMPFILE")
    assert store.put(store.path("t", "a"), b"x")
    assert not store.put(store.path("t", "a"), b"y")
    assert [path.name for path in Path(store.root, "t").iterdir()] == ["a"]
    assert store.get(store.path("t", "a")) == b"x"


def test_a_folder_in_the_way_is_named_and_moved_aside_by_who_replaces(store: Store) -> None:
    path = store.path("t", "m.json")
    Path(path).mkdir(parents=True)
    assert not store.put(path, b"{}")
    with pytest.raises(DamagedObject, match=r"m\.json is a folder where a file should be; move it away"):
        store.get(path)
    with pytest.raises(DamagedDocument, match=r"m\.json is a folder .* and materialize again"):
        store.get_json(path, dict[str, Any])
    store.put_json(path, {"n": 1})
    assert store.get_json(path, dict[str, Any]) == {"n": 1}
    assert (Path(path).parent / "damaged" / "m.json").is_dir()


def test_a_file_where_a_folder_should_be_is_named(store: Store) -> None:
    store.put(store.path("t"), b"x")
    with pytest.raises(DamagedObject, match="t is a file where a folder should be; move it away"):
        store.put(store.path("t", "x"), b"x")
    with pytest.raises(FileNotFoundError):
        store.get(store.path("t", "x"))


@document
class Form(TypedDict):
    key: Hash
    where: Below
    n: Count


SOUND = {"key": "0" * 32, "where": "a/b.json", "n": 3}


def test_a_document_of_its_form_is_read_with_what_else_it_says(any_store: Store) -> None:
    any_store.put_json(any_store.path("m.json"), {**SOUND, "more": [1]})
    assert any_store.get_json(any_store.path("m.json"), Form) == {**SOUND, "more": [1]}
    assert any_store.get_json(any_store.path("nowhere.json"), Form) is None


@pytest.mark.parametrize(
    "data",
    [
        *[b"", b"{", b"[1]", b"null", b"7", b"\xff", b"[" * 200_000, b'{"a":' * 100_000, b"9" * 100_000],
        *(
            json.dumps({**SOUND, **wrong}).encode()
            for wrong in (
                {"key": "0" * 31},
                {"key": "0" * 32 + "\n"},
                {"key": ["0" * 32]},
                {"where": "../x"},
                {"where": "/etc/passwd"},
                {"where": "a/../../x"},
                {"where": ""},
                {"n": -1},
                {"n": "3"},
                {"n": 3.5},
                {"n": True},
                {"n": None},
            )
        ),
        *(json.dumps({k: v for k, v in SOUND.items() if k != left_out}).encode() for left_out in SOUND),
    ],
)
def test_any_other_document_is_named_with_the_remedy(store: Store, data: bytes) -> None:
    store.put(store.path("m.json"), data)
    with pytest.raises(DamagedDocument, match=r"m\.json: not .*; delete it and materialize it all again") as caught:
        store.get_json(store.path("m.json"), Form, "materialize it all again")
    assert len(str(caught.value)) < 600
