"""Products: sealed sets of files, what is read of them, and how damage and additions are met."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from synthvlm_core.errors import Mendable
from synthvlm_core.store import products
from synthvlm_core.store.objects import Store
from synthvlm_core.store.products import DamagedProduct, Product, proof


def sealed(store: Store) -> Product:
    """A product of three files in two folders."""
    product = Product(store, store.path("shelf"), "bake it again")
    product.put("README.md", b"what it is")
    product.put("data/one", b"1" * 10)
    product.put("data/two", b"2" * 20)
    product.seal({"rows": 2})
    return product


def stored(store: Store) -> Product:
    """The product as somebody else finds it."""
    product = Product(store, store.path("shelf"), "bake it again")
    assert product.manifest() is not None
    return product


def test_a_sealed_product_names_every_file_with_size_and_hash(any_store: Store) -> None:
    sealed(any_store)
    found = stored(any_store)
    assert found.manifest() == {
        "rows": 2,
        "files": [
            {"name": "README.md", **proof(b"what it is")},
            {"name": "data/one", **proof(b"1" * 10)},
            {"name": "data/two", **proof(b"2" * 20)},
        ],
    }
    assert found.names() == ["README.md", "data/one", "data/two"]
    assert found.names("data") == ["data/one", "data/two"]
    assert found.get("data/two") == b"2" * 20
    assert found.damage() == []


def test_without_a_manifest_there_is_no_product(store: Store) -> None:
    product = Product(store, store.path("shelf"))
    product.put("data/one", b"1")
    assert Product(store, store.path("shelf")).manifest() is None
    assert Product(store, store.path("shelf")).sound() is None


@pytest.mark.parametrize("small", [4_000_000, 0], ids=["small files", "large files"])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(lambda path: path.unlink(), "data/one is missing; bake it again", id="gone"),
        pytest.param(
            lambda path: path.write_bytes(b"1" * 9 + b"l"),
            "data/one has other bytes than the manifest says; bake it again",
            id="other bytes of the same size",
        ),
    ],
)
def test_damage_is_named_with_the_remedy(
    store: Store, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], None], said: str, small: int
) -> None:
    monkeypatch.setattr(products, "SMALL", small)
    sealed(store)
    change(Path(store.path("shelf", "data", "one")))
    found = stored(store)
    [damage] = found.damage()
    assert damage.endswith(said)
    assert found.damage("data") == [damage]
    assert found.damage("other") == []
    assert found.sound() is None
    assert found.get("data/two") == b"2" * 20
    with pytest.raises(DamagedProduct, match=said):
        found.get("data/one")
    with pytest.raises(DamagedProduct, match=said), found.local_folder():
        pass


def test_a_file_that_nobody_named_is_not_read(store: Store) -> None:
    sealed(store)
    Path(store.path("shelf", "data", "three")).write_bytes(b"foreign")
    found = stored(store)
    with pytest.raises(DamagedProduct, match="data/three is not among the files of the manifest"):
        found.get("data/three")
    with found.local_folder() as folder:
        files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"README.md", "data/one", "data/two"}


def test_a_local_folder_has_the_proved_files_and_is_gone_afterwards(any_store: Store) -> None:
    sealed(any_store)
    with stored(any_store).local_folder("data") as folder:
        assert {path.name: path.read_bytes() for path in (folder / "data").iterdir()} == {
            "one": b"1" * 10,
            "two": b"2" * 20,
        }
        assert not (folder / "README.md").exists()
    assert not folder.exists()
    assert stored(any_store).damage() == []


def test_files_are_added_and_the_others_stay(store: Store) -> None:
    sealed(store)
    before = Path(store.path("shelf", "data", "one")).stat().st_mtime_ns
    product = stored(store)
    product.put("data/one", b"1" * 10)
    product.put("more/three", b"3")
    product.forget("data")
    product.put("data/one", b"1" * 10)
    product.seal({"rows": 3})
    assert stored(store).names() == ["README.md", "data/one", "more/three"]
    assert Path(store.path("shelf", "data", "one")).stat().st_mtime_ns == before
    assert Path(store.path("shelf", "data", "two")).exists(), "what is no longer named is nobody's to delete"


def test_sealing_what_is_sealed_writes_nothing(store: Store) -> None:
    sealed(store)
    manifest = Path(store.path("shelf", "manifest.json"))
    before = manifest.stat().st_mtime_ns
    sealed(store)
    assert manifest.stat().st_mtime_ns == before


def test_a_file_that_an_unfinished_try_left_is_replaced(store: Store) -> None:
    store.put(store.path("shelf", "data", "one"), b"half of i")
    sealed(store)
    assert stored(store).damage() == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"files": [{"name": "a"}]}',
        '{"files": 3}',
        json.dumps({"files": [{"name": "../outside", "size": 1, "sha256": "0"}]}),
        json.dumps({"files": [{"name": "/etc/passwd", "size": 1, "sha256": "0"}]}),
    ],
)
def test_what_is_no_manifest_is_named_and_mended_by_sealing_again(store: Store, text: str) -> None:
    sealed(store)
    Path(store.path("shelf", "manifest.json")).write_text(text)
    product = Product(store, store.path("shelf"))
    with pytest.raises(Mendable, match=r"shelf/manifest\.json"):
        product.manifest()
    assert product.sound() is None
    sealed(store)
    assert stored(store).damage() == []
