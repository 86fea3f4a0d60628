"""Which requests the guarded webserver takes when it is opened to others: under names, behind a proxy."""

import http.client
import re
import threading
import time
from collections.abc import Iterator

import dagster as dg
import pytest
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext

from synthvlm_assets.definitions import build
from synthvlm_assets.webserver import GuardedWebserver, names_of
from synthvlm_core.recipe import loading

NAMES = "synthvlm.lan:8080, ui.example.org"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A served UI without a code location, which answers to NAMES beside its own."""
    home = str(tmp_path_factory.mktemp("home"))
    with dg.DagsterInstance.local_temp(home) as instance, WorkspaceProcessContext(instance, None) as context:
        app = GuardedWebserver(context, names_of(NAMES)).create_asgi_app()
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        thread.join()


def asked(port: int, headers: list[tuple[str, str]], path: str = "/graphql") -> http.client.HTTPResponse:
    """The answer to a harmless query with these headers, in this order."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.putrequest("POST", path, skip_host=True, skip_accept_encoding=True)
    body = b'{"query": "{version}"}'
    for name, value in [*headers, ("Content-Type", "application/json"), ("Content-Length", str(len(body)))]:
        connection.putheader(name, value.replace("PORT", str(port)))
    connection.endheaders(body)
    return connection.getresponse()


@pytest.mark.parametrize(
    ("host", "origin", "taken"),
    [
        pytest.param("localhost:PORT", None, True, id="a program"),
        pytest.param("LOCALHOST:PORT", "http://localhost:PORT", True, id="names have no case"),
        pytest.param("127.0.0.1:PORT", "http://127.0.0.1:PORT", True, id="its page by number"),
        pytest.param("[::1]:PORT", "http://[::1]:PORT", True, id="its page by the other number"),
        pytest.param("localhost:PORT", "http://127.0.0.1:PORT", False, id="another name is another origin"),
        pytest.param("localhost:PORT", "http://localhost", False, id="another port"),
        pytest.param("localhost", None, False, id="no port"),
        pytest.param("localhost.:PORT", None, False, id="a dot more"),
        pytest.param("synthvlm.lan:8080", "http://synthvlm.lan:8080", True, id="a tunnel under its name"),
        pytest.param("synthvlm.lan", None, False, id="the name on a port that was not named"),
        pytest.param("ui.example.org", "https://ui.example.org", True, id="a proxy that keeps the name"),
        pytest.param("127.0.0.1:PORT", "https://ui.example.org", True, id="a proxy that puts its own"),
        pytest.param("ui.example.org", "https://example.org", False, id="a neighbour of the name"),
        pytest.param("ui.example.org", "file://ui.example.org", False, id="no web page"),
        pytest.param("ui.example.org", "null", False, id="a page without an origin"),
    ],
)
def test_who_is_answered(port: int, host: str, origin: str | None, taken: bool) -> None:
    answer = asked(port, [("Host", host), *([("Origin", origin)] if origin else [])])
    assert (answer.status, answer.getheader("X-Frame-Options")) == ((200, "SAMEORIGIN") if taken else (403, None))
    told = answer.read().decode()
    assert taken or "docs/security.md" in told


def test_two_answers_to_one_question_are_none(port: int) -> None:
    own = ("Origin", "http://localhost:PORT")
    assert asked(port, [("Host", "localhost:PORT"), own, ("Origin", "http://evil.example")]).status == 403
    assert asked(port, [("Host", "localhost:PORT"), ("Host", "evil.example")]).status in (400, 403)
    assert asked(port, [("Host", "localhost:PORT"), own, ("Sec-Fetch-Site", "cross-site")]).status == 403
    assert asked(port, [("Host", "localhost:PORT"), own, ("Sec-Fetch-Site", "same-origin")]).status == 200


def page(port: int, path: str) -> http.client.HTTPResponse:
    """What a browser gets that opens a page."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", path)
    return connection.getresponse()


def test_the_first_page_is_the_whole_graph_and_its_groups_are_open(port: int) -> None:
    first = page(port, "/")
    assert (first.status, first.getheader("Location")) == (307, "/asset-groups")
    graph = page(port, "/asset-groups")
    nonce, script = re.findall(r'<script nonce="(\w+)">(localStorage.*?)</script>', graph.read().decode())[0]
    assert f"'nonce-{nonce}'" in str(graph.getheader("Content-Security-Policy")), "a browser runs it"
    specs = build(loading.load("miniature"), "store").resolve_all_asset_specs()
    graphs = re.findall(r"getItem\('asset-graph-open-graph-nodes-(\S+)'\)", script)
    assert graphs == ["global-__GLOBAL__", "job-curate_and_draw"]
    assert set(re.findall(r"global@global:(\w+)", script)) == {spec.group_name for spec in specs}


def test_a_name_is_written_as_in_the_address_bar() -> None:
    assert names_of(" A.example , [::1]:80,") == {"a.example", "[::1]:80"}
    assert names_of("") == frozenset()
    for wrong in ("http://a.example", "*", "a.example/path", "a b", "a.example:x"):
        with pytest.raises(ValueError, match="as in the address bar"):
            names_of(wrong)
