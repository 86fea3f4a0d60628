"""The one door: which places a source may name, and which addresses are never connected to, however written."""

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from caption_files import fails, picked, read, source
from hypothesis import given
from hypothesis import strategies as st
from web import FileServer

from synthvlm_core.captions import files
from synthvlm_core.captions.files import SourceError
from synthvlm_core.captions.readers import access, opening
from synthvlm_core.parts.source import Unreadable

ROWS = b"a ball\thttp://a\na cat\thttp://b\n"


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer() as running:
        yield running


PRIVATE = [
    "127.0.0.1",
    "localhost",
    "LOCALHOST.",
    "127.1",
    "2130706433",
    "0x7f000001",
    "0177.0.0.1",
    "0",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[::127.0.0.1]",
    "user:pass@127.0.0.1",
    "127%2e0%2e0%2e1",
    "１２７.0.0.1",
]


@pytest.mark.parametrize("host", PRIVATE)
def test_this_machine_is_not_asked_however_it_is_written(tmp_path: Path, server: FileServer, host: str) -> None:
    server.files["/cc.tsv"] = ROWS
    url = f"http://{host}:{server.port}/cc.tsv"
    for pattern in (url, url.replace("cc.tsv", "*.tsv")):
        with pytest.raises(SourceError, match=r"cannot be listed") as refused:
            files.input_files(source("cc3m", pattern), str(tmp_path))
        assert "pass" not in str(refused.value)
    for look in (opening.modified, opening.head):
        with pytest.raises(Unreadable):
            look(url)
    assert server.requests == []


@pytest.mark.parametrize(
    "address",
    [
        *("10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "198.18.0.1", "224.0.0.1"),
        *("fe80::1", "fd00:ec2::254", "fec0::1", "ff02::1", "64:ff9b::7f00:1", "2002:7f00:1::", "::ffff:a00:1"),
    ],
)
def test_private_and_link_local_addresses_are_refused_in_words(address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(Unreadable, match=rf"is not requested: .*{access.PRIVATE_HOSTS}="):
        opening.modified(f"http://{host}/cc.tsv")


@given(st.ip_addresses(v=4))
def test_an_address_within_another_is_judged_as_itself(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    within = [f"::ffff:{address}", f"64:ff9b::{address}", str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80)))]
    assert {access.is_public(ipaddress.ip_address(one)) for one in within} == {access.is_public(address)}


def test_public_addresses_are_public() -> None:
    assert all(access.is_public(ipaddress.ip_address(one)) for one in ("1.1.1.1", "2606:4700:4700::1111"))


def test_a_redirect_to_this_machine_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FileServer("127.0.0.2") as server, FileServer() as inner:
        inner.files["/secret.tsv"] = ROWS
        for place in (f"http://127.0.0.1:{inner.port}/secret.tsv", f"http://localhost:{inner.port}/secret.tsv"):
            server.redirects["/cc.tsv"] = place
            monkeypatch.setenv(access.PRIVATE_HOSTS, "files.test")
            resolve_to(monkeypatch, {"files.test": ["127.0.0.2"], "localhost": ["127.0.0.1"]})
            with pytest.raises(SourceError, match="is a private address"):
                files.input_files(source("cc3m", f"http://files.test:{server.port}/cc.tsv"), str(tmp_path))
        assert server.requests
        assert inner.requests == []


def resolve_to(monkeypatch: pytest.MonkeyPatch, names: dict[str, list[str]]) -> None:
    """What a name server answers, one answer after the other; the last one stays."""

    def resolve(host: str, port: int, *_: int) -> list[tuple[Any, ...]]:
        answers = names[host]
        address = answers.pop(0) if len(answers) > 1 else answers[0]
        if ":" in address:
            return [(socket.AF_INET6, socket.SOCK_STREAM, 0, "", (address, port, 0, 0))]
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (address, port))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["192.0.2.1", "127.0.0.1"], ["::1"]])
def test_a_name_that_leads_to_this_machine_is_not_asked(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, answers: list[str]
) -> None:
    """Nor one that a name server sends elsewhere when it is asked again: what was looked at is connected to."""
    resolve_to(monkeypatch, {"captions.example": answers})
    for _ in answers:
        with pytest.raises(Unreadable, match=r"captions\.example \(.*\) is a private address"):
            opening.modified(f"http://captions.example:{server.port}/cc.tsv")
    assert server.requests == []


@pytest.mark.parametrize("allowed", ["127.0.0.1", "other.example, 127.0.0.0/8", "localhost"])
def test_a_persons_own_file_server_is_read_where_he_says_so(
    tmp_path: Path, server: FileServer, monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    monkeypatch.setenv(access.PRIVATE_HOSTS, allowed)
    server.files["/in/cc.tsv"] = ROWS
    server.files["/in/"] = b'<html><a href="cc.tsv">cc.tsv</a></html>'
    host = "localhost" if allowed == "localhost" else "127.0.0.1"
    for pattern in ("cc.tsv", "*.tsv"):
        captions, _ = read(tmp_path, "cc3m", f"http://{host}:{server.port}/in/{pattern}")
        assert picked(captions, "file", "text") == [
            (f"http://{host}:{server.port}/in/cc.tsv", t) for t in ("a ball", "a cat")
        ]


@pytest.mark.parametrize(
    "url",
    [
        "zip://cc.tsv::http://127.0.0.1/a.zip",
        "simplecache::http://127.0.0.1/cc.tsv",
        "filecache::s3://bucket/cc.tsv",
        "blockcache::file:///etc/passwd",
        "reference://::http://127.0.0.1/refs.json",
        "http://127.0.0.1/a::b.tsv",
        "github://owner:repo@main/cc.tsv",
        *(
            f"{kind}://host/cc.tsv"
            for kind in ("ftp", "sftp", "ssh", "smb", "webhdfs", "hdfs", "dask", "memory", "jar")
        ),
        *(
            f"{kind}://host/cc.tsv"
            for kind in ("git", "gist", "dbfs", "tar", "zip", "libarchive", "data", "root", "dir")
        ),
        "generic://http://127.0.0.1/cc.tsv",
        "az://box@evil.example/cc.tsv",
        "http:///cc.tsv",
        "http://[::1/cc.tsv",
    ],
)
def test_other_places_are_refused_in_words(tmp_path: Path, url: str) -> None:
    with pytest.raises(SourceError, match=r"cannot be listed: .*(Sources are local paths|Correct it)"):
        files.input_files(source("cc3m", url), str(tmp_path))
    with pytest.raises(Unreadable):
        opening.head(url)


def test_a_local_name_is_never_taken_for_a_chain(tmp_path: Path, server: FileServer) -> None:
    name = "simplecache::http:"
    (tmp_path / name).mkdir()
    (tmp_path / name / "cc.tsv").write_bytes(ROWS)
    (tmp_path / "zip::x.tsv").write_bytes(ROWS)
    captions, _ = read(tmp_path, "cc3m", "*/cc.tsv", "zip::x.tsv")
    assert len(captions) == 4


def test_a_store_without_its_client_says_what_to_install(tmp_path: Path) -> None:
    fails(tmp_path, r"gs:// needs gcsfs, which is not installed\. pip install gcsfs", "cc3m", "gs://bucket/cc.tsv")
