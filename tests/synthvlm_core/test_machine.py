"""What the machine and stores refuse is told once, with place and remedy: real disks, a real S3 server."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from synthvlm_core import machine
from synthvlm_core.errors import Mendable
from synthvlm_core.machine import Unusable
from synthvlm_core.store import temporary
from synthvlm_core.store.objects import Store

BIG = np.random.default_rng(0).random(200_000)
"""1.6 MB."""


@pytest.fixture
def small_disk(mounted: Callable[[Path, str], Path], tmp_path: Path) -> Path:
    return mounted(tmp_path / "disk", "size=512k")


@pytest.fixture
def read_only(mounted: Callable[[Path, str], Path], tmp_path: Path) -> Path:
    return mounted(tmp_path / "disk", "ro")


def writes(place: Path, write: Callable[[Path], object]) -> str:
    """What is told of a file that cannot be written."""
    with pytest.raises(Unusable) as told, machine.at(place):
        write(place / "file")
    return str(told.value)


WRITERS: dict[str, Callable[[Path], object]] = {
    "python": lambda path: path.write_bytes(BIG.tobytes()),
    "numpy": lambda path: np.save(path, BIG),
    "torch": lambda path: torch.save(torch.tensor(BIG), path),
    "safetensors": lambda path: save_file({"a": torch.tensor(BIG)}, path),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_is_named_whoever_writes(small_disk: Path, name: str) -> None:
    told = writes(small_disk, WRITERS[name])
    assert told == f"{small_disk}: no space is left there; make room or name another place; what is stored stays"


@pytest.mark.parametrize("name", ["python", "torch", "safetensors"])
def test_a_read_only_disk_is_named_whoever_writes(read_only: Path, name: str) -> None:
    assert writes(read_only, WRITERS[name]) == (
        f"{read_only}: it is mounted read-only; mount it for writing, or name another place"
    )


def test_a_store_on_a_full_disk(small_disk: Path) -> None:
    store = Store(str(small_disk / "store"))
    store.put(store.path("small"), b"x")
    for write in (store.put, store.replace):
        with pytest.raises(Unusable, match=rf"^{small_disk}/store/big: no space is left there; make room"):
            write(store.path("big"), BIG.tobytes())
    assert os.listdir(store.root) == ["small"], "nothing half written"


def test_a_store_on_a_read_only_disk(read_only: Path) -> None:
    store = Store(str(read_only / "store"))
    assert not store.exists(store.path("a"))
    for write in (store.put, store.replace):
        with pytest.raises(Unusable, match=rf"^{read_only}/store: it is mounted read-only; mount it for writing"):
            write(store.path("a"), b"x")


@pytest.fixture
def somebody(tmp_path: Path) -> Iterator[None]:
    """As a user without rights: the root user has them all."""
    if os.geteuid():
        yield
        return
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_store_without_rights(tmp_path: Path, somebody: None) -> None:
    folder = tmp_path / "store"
    if os.access(tmp_path, os.W_OK, effective_ids=True):  # it belongs to this very user
        folder.mkdir(mode=0o500)
    store = Store(str(folder))
    for write in (store.put, store.replace):
        with pytest.raises(Unusable, match=rf"^{folder}(/a)?: this user may not do that there; grant this user access"):
            write(store.path("a"), b"x")


def test_a_full_disk_of_temporary_files(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    with pytest.raises(Unusable, match=rf"^{small_disk}: no space is left there"), temporary.folder("x") as folder:
        (folder / "a").write_bytes(BIG.tobytes())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://", "s3:// names no bucket; write s3://BUCKET/FOLDER"),
        ("s3:///data", "s3:///data names no bucket; write s3://BUCKET/FOLDER"),
        ("az://c/data", "az://c/data: az:// needs adlfs, which is not installed; pip install adlfs"),
        ("gs://b/data", "gs://b/data: gs:// needs gcsfs, which is not installed; pip install gcsfs"),
        ("http://host/data", "http://host/data: nothing can be written over http"),
        ("foo://b/data", "foo://b/data: Protocol not known: foo; write a path, or a URL of s3://, "),
    ],
)
def test_a_store_that_nothing_here_reads(url: str, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("adlfs", "gcsfs"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(Unusable) as caught:
        Store(url)
    assert str(caught.value).startswith(f"store {told}")
    assert str(caught.value).endswith(" (SYNTHVLM_STORE or --store)")


def test_a_bucket_that_is_not_there(s3_store: Store) -> None:
    store = Store("s3://synthvlm-nowhere/data")
    for ask in (lambda: store.put(store.path("a"), b"x"), lambda: store.replace(store.path("a"), b"x")):
        with pytest.raises(Unusable, match=r"^s3://synthvlm-nowhere/data/a: there is no such bucket; make it, or"):
            ask()
    with pytest.raises(Unusable, match="there is no such bucket"):
        store.get_json(store.path("a"), dict[str, Any])


def test_a_bucket_without_credentials(s3_store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    type(s3_store.fs).clear_instance_cache()
    store = Store(s3_store.url())
    for ask in (store.get, store.exists, lambda path: store.put(path, b"x")):
        with pytest.raises(Unusable, match=r"/data/a: there are no credentials for it; set AWS_PROFILE, or AWS_ACC"):
            ask(store.path("a"))


@pytest.fixture
def answering(s3_store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, str], Store]]:
    """answering(403, "AccessDenied"): a store whose server answers nothing else."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        answer = (500, "")

        def do(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"] or 0))
            status, code = self.answer
            data = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_PUT = do_HEAD = do  # so they are called

        def log_message(self, format: str, *args: Any) -> None:
            pass  # not into the test's output

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        cls = type(s3_store.fs)
        monkeypatch.setattr(cls, "retries", 1)

        def store(status: int, code: str) -> Store:
            Handler.answer = (status, code)
            cls.clear_instance_cache()
            return Store("s3://bucket/data")

        yield store
        server.shutdown()
        thread.join()
        cls.clear_instance_cache()


@pytest.mark.parametrize(
    ("status", "code", "told"),
    [
        (403, "AccessDenied", r"access is refused \((no|Forbidden)\); grant its credentials reading and writing there"),
        (400, "ExpiredToken", r"the credentials for it have expired or are not valid; renew them"),
        (403, "InvalidAccessKeyId", r"its server does not know the access key; correct AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", r"the secret key is another access key's; correct AWS_SECRET_ACCESS_KEY"),
        (507, "XMinioStorageFull", r"no space is left there; make room or name another place"),
    ],
)
def test_what_a_bucket_answers(answering: Callable[[int, str], Store], status: int, code: str, told: str) -> None:
    store = answering(status, code)
    for write in (store.put, store.replace):
        with pytest.raises(Unusable, match=rf"^s3://bucket/data/a: {told}"):
            write(store.path("a"), b"x")
    with pytest.raises(Unusable, match=r"^s3://bucket/data/a: "):  # asked for a head, it gives no reason
        store.get(store.path("a"))


def test_what_passes_by_itself_may_be_tried_again(answering: Callable[[int, str], Store]) -> None:
    store = answering(500, "InternalError")
    with pytest.raises(OSError, match="121"):  # EREMOTEIO
        store.replace(store.path("a"), b"x")


def test_a_package_that_is_not_installed() -> None:
    with (
        pytest.raises(Unusable, match=r"^the package no_such_package is not installed.*; pip install no_such_package$"),
        machine.in_words(),
    ):
        importlib.import_module("no_such_package.inner")


@pytest.mark.parametrize(
    "error", [KeyError("a"), RuntimeError("b"), OSError(5, "Input/output error"), ImportError("c")]
)
def test_an_error_of_the_program_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, machine.in_words(), machine.at("/"):
        raise error
    assert caught.value is error


def test_what_is_missing_and_what_is_mendable_already() -> None:
    with pytest.raises(Unusable, match=r"^/nowhere/a: no such file or folder; put it there"), machine.in_words():
        Path("/nowhere/a").read_bytes()
    with pytest.raises(FileNotFoundError), machine.at("/nowhere"):
        Path("/nowhere/a").read_bytes()
    told = Mendable("told already")
    with pytest.raises(Mendable) as caught, machine.in_words(), machine.at("/"):
        raise told
    assert caught.value is told
