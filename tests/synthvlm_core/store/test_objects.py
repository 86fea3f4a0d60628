import threading
from pathlib import Path

import pytest

from synthvlm_core.store.objects import Store


def test_put_creates_once(any_store: Store) -> None:
    path = any_store.path("a", "b.bin")
    assert any_store.put(path, b"first")
    assert not any_store.put(path, b"second")
    assert any_store.get(path) == b"first"


def test_replace_overwrites(any_store: Store) -> None:
    path = any_store.path("a", "b.json")
    assert any_store.get_json(path) is None
    any_store.put_json(path, {"n": 1})
    any_store.put_json(path, {"n": 2})
    assert any_store.get_json(path) == {"n": 2}


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
    with pytest.raises(OSError, match="No space"):
        store.put(store.path("t", "x"), b"data")
    assert list(Path(store.root, "t").iterdir()) == []


def test_an_unreadable_document_is_named(store: Store) -> None:
    store.put(store.path("m.json"), b"{")
    with pytest.raises(ValueError, match=r"m\.json: not JSON; delete it"):
        store.get_json(store.path("m.json"))
