"""Finding the files of a source, and telling whether one changed."""

import gzip
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import aiobotocore.client
import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caption_files import picked, read, source
from moto.s3.models import s3_backends
from web import FileServer

from synthvlm_core import hashing
from synthvlm_core.captions import files, judging
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import access, opening
from synthvlm_core.parts.source import InputFile
from synthvlm_core.store.objects import Store


def test_names_are_those_of_the_recipe_on_every_machine(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    for name in ("in/b.tsv", "in/a.tsv", "in/deep/c.tsv", "in/[odd].tsv"):
        (tmp_path / name).write_text("")
    (tmp_path / "in" / "folder.tsv").mkdir()
    found = files.input_files(source("cc3m", "in/**/*.tsv", "./in/a.tsv", "in/[odd].tsv"), str(tmp_path))
    assert [file.name for file in found] == ["in/[odd].tsv", "in/a.tsv", "in/b.tsv", "in/deep/c.tsv"]
    assert found[1].url == str(tmp_path / "in" / "a.tsv")
    absolute = files.input_files(source("cc3m", f"{tmp_path}/in/a.tsv", f"file://{tmp_path}/in/b*"), "/")
    assert [file.name for file in absolute] == [f"{tmp_path}/in/a.tsv", f"file://{tmp_path}/in/b.tsv"]


def test_a_pattern_without_files_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"missing-\*\.tsv matches no file .*correct the recipe"):
        files.input_files(source("cc3m", "missing-*.tsv"), str(tmp_path))


def test_a_fingerprint_changes_with_file_or_companion(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("1")
    two.write_text("2")
    file = InputFile("one", str(one), (str(two),))
    before = files.fingerprint(file)
    assert len(before) == 32
    assert files.fingerprint(file) == before
    two.write_text("22")
    changed = files.fingerprint(file)
    assert changed != before
    os.utime(one, ns=(1, 1))
    assert files.fingerprint(file) != changed
    two.unlink()
    with pytest.raises(SourceError, match="two: no such file"):
        files.fingerprint(file)


def test_fingerprints_look_once_at_what_files_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("c0", "c1", "c2", "m0", "m1"):
        (tmp_path / name).write_text(name)
    beside = tuple(str(tmp_path / name) for name in ("m0", "m1"))
    shared = [InputFile(name, str(tmp_path / name), beside) for name in ("c0", "c1", "c2")]
    before = files.fingerprints(shared)
    assert before == [files.fingerprint(file) for file in shared]
    looked: Counter[str] = Counter()
    original = opening.modified
    monkeypatch.setattr(opening, "modified", lambda url: (looked.update([url]), original(url))[1])
    assert files.fingerprints(shared) == before
    assert len(looked) == looked.total() == 5
    (tmp_path / "m1").write_text("changed")
    assert not set(before) & set(files.fingerprints(shared))  # nothing is remembered from one call to the next


def test_a_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.tsv")).write_bytes(b"a ball\thttp://a\n")
    for pattern in ("*.tsv", f"file://{tmp_path}/*.tsv"):
        with pytest.raises(SourceError, match=r"caf\\xe9\.tsv' is not UTF-8\. Rename it") as refused:
            files.input_files(source("cc3m", pattern), str(tmp_path))
        str(refused.value).encode()


def test_everything_that_is_wrong_with_the_patterns_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(SourceError) as refused:
        files.input_files(source("cc3m", "in", "missing.tsv", "ftp://host/a.tsv", "http://10.0.0.1/a"), str(tmp_path))
    for why in (
        "in is a folder. Name its files: in/*",
        "missing.tsv matches no file",
        "ftp:// is no place",
        "10.0.0.1 is",
    ):
        assert why in str(refused.value)


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1")
    with FileServer() as server:
        server.files["/cc.tsv"] = b"a ball\thttp://a\n"
        yield server


@pytest.mark.parametrize(
    "headers",
    [{"ETag": '"%s"'}, {"Last-Modified": "Wed, 0%s Jan 2026 00:00:00 GMT"}, {"Content-MD5": "%s"}, {}],
    ids=["ETag", "Last-Modified", "MD5", "none"],
)
def test_an_edit_of_equal_size_behind_a_web_server_is_seen(web: FileServer, headers: dict[str, str]) -> None:
    url = f"http://127.0.0.1:{web.port}/cc.tsv"
    web.headers |= {name: value % 1 for name, value in headers.items()}
    before = files.fingerprint(InputFile(url, url))
    assert files.fingerprint(InputFile(url, url)) == before
    asked = [request for request in web.requests if request.startswith("GET")]
    assert bool(asked) != bool(headers)  # only without any mark is the file read
    web.files["/cc.tsv"] = b"a bell\thttp://a\n"
    web.headers |= {name: value % 2 for name, value in headers.items()}
    assert files.fingerprint(InputFile(url, url)) != before


def test_a_mark_that_was_stored_stays(web: FileServer) -> None:
    web.headers |= {"ETag": '"1"', "Last-Modified": "Wed, 01 Jan 2026 00:00:00 GMT"}
    assert opening.modified(f"http://127.0.0.1:{web.port}/cc.tsv") == [16, '"1"']


def test_a_large_file_without_any_mark_is_refused(web: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "_HASHED", 10)
    with pytest.raises(SourceError, match=r"neither ETag nor Last-Modified.*Let the server send one"):
        files.fingerprint(InputFile("cc", f"http://127.0.0.1:{web.port}/cc.tsv"))


@pytest.mark.parametrize(("status", "why"), [(403, "403"), (500, "500"), (404, "matches no file")])
def test_what_a_web_server_answers_is_told(web: FileServer, tmp_path: Path, status: int, why: str) -> None:
    web.statuses["/cc.tsv"] = status
    with pytest.raises(SourceError, match=why):
        files.input_files(source("cc3m", f"http://127.0.0.1:{web.port}/cc.tsv"), str(tmp_path))


def test_keys_from_a_listing_are_those_of_each_object(
    s3_store: Store, s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """3,000 objects: a few requests tell what asking for each would."""
    bucket = s3_store.root.partition("/")[0]
    names = [f"in/{number:04}.tsv" for number in range(3000)]
    for name in names:
        s3_backends["123456789012"]["global"].put_object(bucket, name, name.encode() * 3)
    s3_store.fs.pipe(f"{bucket}/in/.hidden.tsv", b"x")
    asked: Counter[str] = Counter()
    call = aiobotocore.client.AioBaseClient._make_api_call

    async def counted(self: object, operation: str, arguments: object) -> object:
        asked[operation] += 1
        return await call(self, operation, arguments)

    monkeypatch.setattr(aiobotocore.client.AioBaseClient, "_make_api_call", counted)
    found = files.input_files(source("cc3m", f"s3://{bucket}/in/*.tsv"), str(tmp_path))
    keys = files.fingerprints(found)
    assert [file.name for file in found] == [f"s3://{bucket}/{name}" for name in names]
    assert asked.total() <= 8
    some = found[::500]
    assert [files.fingerprint(file) for file in some] == keys[::500]
    assert asked["HeadObject"] >= len(some)
    s3_store.fs.pipe(f"{bucket}/in/0000.tsv", b"in/0000.tsv"[::-1] * 3)
    changed = files.fingerprints(files.input_files(source("cc3m", f"s3://{bucket}/in/*.tsv"), str(tmp_path)))
    assert [number for number, (one, two) in enumerate(zip(keys, changed, strict=True)) if one != two] == [0]


def test_an_object_by_its_name_has_the_key_that_a_pattern_gives(s3_store: Store, tmp_path: Path) -> None:
    bucket = s3_store.root.partition("/")[0]
    s3_store.fs.pipe(f"{bucket}/cc.tsv", b"a ball")
    keys = {
        files.fingerprints(files.input_files(source("cc3m", f"s3://{bucket}/{name}"), str(tmp_path)))[0]
        for name in ("cc.tsv", "*.tsv", "c[c].tsv")
    }
    url = f"s3://{bucket}/cc.tsv"
    info = s3_store.fs.info(f"{bucket}/cc.tsv")
    expected = hashing.of_json([[info["size"], info["ETag"]], hashing.of_json([])])
    assert keys == {files.fingerprint(InputFile(url, url))} == {expected}


def test_s3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_module = pytest.importorskip("moto.server")
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = server_module.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        store = fsspec.filesystem("s3", skip_instance_cache=True)
        store.mkdir("web")
        store.pipe("web/cc/1.tsv.gz", gzip.compress(b"a ball\thttp://a\n"))
        wanted = source("cc3m", "s3://web/cc/*.tsv.gz")
        [file] = files.input_files(wanted, str(tmp_path))
        assert (file.name, file.url) == ("s3://web/cc/1.tsv.gz", "s3://web/cc/1.tsv.gz")
        before = files.fingerprint(file)
        [batch] = judging.read(wanted, file)
        assert batch.captions["file"].to_pylist() == ["s3://web/cc/1.tsv.gz"]
        store.pipe("web/cc/1.tsv.gz", gzip.compress(b"another\thttp://a\n"))
        store.pipe("web/cc/2.tsv.gz", gzip.compress(b"a cat\thttp://b\n"))
        assert len(files.input_files(wanted, str(tmp_path))) == 2
        assert files.fingerprint(file) != before
        pq.write_table(pa.table({"URL": ["u"], "TEXT": ["t"]}), "web/part.parquet", filesystem=store)
        captions, _ = read(tmp_path, "laion", "s3://web/part.parquet")
        assert picked(captions, "text", "image_url") == [("t", "u")]
    finally:
        fsspec.filesystem("s3").clear_instance_cache()
        server.stop()
