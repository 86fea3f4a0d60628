"""Finding the files of a source, and telling whether one changed."""

import gzip
import os
from collections import Counter
from pathlib import Path

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from caption_files import picked, read, source

from synthvlm_core.captions import files, judging
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import opening
from synthvlm_core.parts.source import InputFile


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
