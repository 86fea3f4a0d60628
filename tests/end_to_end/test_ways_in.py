"""The running UI, tried from outside: whatever a page of another origin sends, no run begins and nothing is forged."""

import http.client
import json
import stat
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
IMAGE = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
LINK = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
FRAME = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
OTHER_PORT = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}


def send(url: str, method: str, path: str, headers: dict[str, str], body: str = "") -> int:
    """A request with just these headers. Returns the status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=60)
    connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
    for name, value in {"Host": parts.netloc, "Content-Length": str(len(body)), **headers}.items():
        connection.putheader(name, value)
    connection.endheaders(body.encode())
    status = connection.getresponse().status
    connection.close()
    return status


def mutation(deployment) -> tuple[str, str]:
    """A launch that succeeds if it is taken: as a query string and as JSON."""
    launch = deployment.launching("laion")
    variables = {"p": launch["p"]}
    asked = urllib.parse.urlencode({"query": launch["query"], "variables": json.dumps(variables)})
    return asked, json.dumps({"query": launch["query"], "variables": variables})


def listening(pid: int) -> tuple[set[tuple[str, int]], list[Path]]:
    """Where the processes of a deployment listen: TCP addresses, Unix sockets."""
    processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    tcp = {c.laddr[:2] for p in processes for c in p.net_connections("tcp") if c.status == psutil.CONN_LISTEN}
    return tcp, [Path(c.laddr) for p in processes for c in p.net_connections("unix") if c.laddr.startswith("/")]


def test_no_request_of_another_origin_is_taken(deployment) -> None:
    url, own = deployment.url, urlsplit(deployment.url).netloc
    asked, body = mutation(deployment)
    get, forged = f"/graphql?{asked}", "/report_asset_materialization/raw_captions"
    evil, neighbour = {"Origin": "http://evil.example"}, {"Origin": "http://127.0.0.1:1"}
    form = f"query={urllib.parse.quote(body)}"
    multipart = {"Content-Type": "multipart/form-data; boundary=x"}
    for method, path, headers, sent in [
        # a link, a picture, a frame, a script; and a browser or program that says nothing of itself
        ("GET", get, LINK, ""),
        ("GET", get, IMAGE, ""),
        ("GET", get, FRAME, ""),
        ("GET", get, evil, ""),
        ("GET", get, {"Accept": "text/html"}, ""),
        ("GET", get, {}, ""),
        ("HEAD", get, {}, ""),
        # what a page may send without asking: a form, plain text, text that calls itself JSON, all in the query
        ("POST", get, {**FORM, **evil}, ""),
        ("POST", get, FORM, ""),
        ("POST", get, {}, ""),
        ("POST", "/graphql", FORM, form),
        ("POST", "/graphql", multipart, f"--x\r\n\r\n{body}\r\n--x--"),
        ("POST", get, multipart, ""),
        ("POST", "/graphql", {"Content-Type": "text/plain"}, body),
        ("POST", "/graphql", {"Content-Type": "text/plain; application/json"}, body),
        (
            "POST",
            "/graphql",
            {"Content-Type": "application/graphql"},
            "mutation {wipeAssets(assetPartitionRanges: [])}",
        ),
        # JSON from elsewhere: another site, a server on another port of this machine, a file or a sandboxed frame
        ("POST", "/graphql", {**JSON, **evil}, body),
        ("POST", "/graphql", {**JSON, **neighbour}, body),
        ("POST", "/graphql", {**JSON, "Origin": "null"}, body),
        ("POST", "/graphql", {**JSON, "Origin": f"http://{own}.evil.example"}, body),
        ("POST", "/graphql", {**JSON, "Origin": f"http://{own}@evil.example"}, body),
        ("POST", "/graphql", {**JSON, **OTHER_PORT}, body),
        ("OPTIONS", "/graphql", {**evil, "Access-Control-Request-Method": "POST"}, ""),
        # a foreign name that was made to point here
        ("POST", "/graphql", {**JSON, "Host": "evil.example"}, body),
        ("POST", "/graphql", {**JSON, "Host": f"evil.example:{own.partition(':')[2]}"}, body),
        ("POST", "/graphql", {**JSON, "Host": f"{own}.evil.example"}, body),
        ("POST", "/graphql", {**JSON, "Host": "localhost:1"}, body),
        ("GET", "/", {"Host": "evil.example"}, ""),
        # results that nobody computed, and what a picture or a frame would show
        ("POST", forged, evil, ""),
        ("POST", forged, {**FORM, **OTHER_PORT}, "data_version=1"),
        ("POST", "/report_asset_check/raw_captions", {"Origin": "null"}, ""),
        ("POST", "/report_asset_observation/raw_captions", evil, ""),
        ("GET", "/", FRAME, ""),
        ("GET", "/download_debug/x", IMAGE, ""),
    ]:
        assert send(url, method, path, headers, sent) in (403, 405, 415), (method, path[:60], headers)

    for header in (evil, neighbour, {"Origin": "null"}):
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{own}/graphql", origin=header["Origin"], subprotocols=["graphql-ws"], proxy=None)
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://{own}/graphql", additional_headers=IMAGE, subprotocols=["graphql-ws"], proxy=None)

    assert deployment.runs() == []
    materialized = '{assetOrError(assetKey: {path: ["raw_captions"]}) {... on Asset {assetMaterializations {runId}}}}'
    assert not deployment.graphql(materialized)["assetOrError"].get("assetMaterializations")

    # one port listens, on this machine alone; the code server is out of other users' reach, too
    tcp, unix = listening(deployment.pid)
    assert tcp == {("127.0.0.1", int(own.partition(":")[2]))}
    assert unix
    for path in unix:
        assert not stat.S_IMODE(path.stat().st_mode) & (stat.S_IWGRP | stat.S_IWOTH)

    # the same launch, asked by a page of its own, and a link from elsewhere to a page
    page = {**JSON, "Origin": url, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    assert send(url, "POST", "/graphql", page, body) == 200
    assert len(deployment.runs()) == 1
    assert send(url, "GET", "/runs", LINK) == 200
    with connect(f"ws://{own}/graphql", origin=url, subprotocols=["graphql-ws"], proxy=None) as ws:
        ws.send(json.dumps({"type": "connection_init"}))
        assert json.loads(ws.recv(60)) == {"type": "connection_ack"}


def test_a_launch_sets_nothing_and_names_only_what_there_is(deployment, tmp_path: Path) -> None:
    """What passes the webserver, from a program of this machine or a person of the house."""
    elsewhere = tmp_path / "elsewhere"
    for config in (
        {"resources": {"settings": {"config": {"store": str(elsewhere)}}}},
        {"resources": {"settings": {"config": {"recipe": "{}"}}}},
        {"resources": {"io_manager": {"config": {"base_dir": str(elsewhere)}}}},
        {"execution": {"config": {"marker_to_close": str(elsewhere)}}},
        {"ops": {"raw_captions": {"config": {"store": str(elsewhere)}}}},
    ):
        answer = deployment.graphql(**deployment.launching("laion", runConfigData=config))["launchPipelineExecution"]
        assert answer["__typename"] == "RunConfigValidationInvalid", config
    assert deployment.runs() == []
    launch = deployment.launching("../../elsewhere")
    answer = deployment.graphql(**launch)["launchPipelineExecution"]
    if answer["__typename"] == "LaunchRunSuccess":
        assert deployment.finished(answer["run"]["runId"])["status"] != "SUCCESS"
    assert not elsewhere.exists()
    assert not [
        path for path in Path(deployment.store.root).rglob("*") if "elsewhere" in str(path.relative_to(tmp_path))
    ]


@pytest.fixture
def page_elsewhere() -> Iterator[ThreadingHTTPServer]:
    """A web server of another origin, on another port of this machine: `html` is its one page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(self.server.html.encode())  # type: ignore[attr-defined]

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


ATTACK = """<html><body>
<img src="URL/graphql?ASKED"><script src="URL/graphql?ASKED"></script><iframe src="URL/graphql?ASKED"></iframe>
<iframe name="framed" src="URL/runs"></iframe>
<iframe name="form"></iframe><form id="byForm" method="POST" action="URL/graphql?ASKED" target="form"></form>
<iframe name="text"></iframe><form id="byText" method="POST" enctype="text/plain" action="URL/graphql" target="text">
<input name='{"query": "{version}", "x": "' value='"}'></form>
<script>
const told = {}, json = {"Content-Type": "application/json"}, body = BODY;
const tell = name => [() => { told[name] = "taken"; }, () => { told[name] = "refused"; }];
byForm.submit(); byText.submit();
const tries = {
  get: fetch("URL/graphql?ASKED"), json: fetch("URL/graphql", {method: "POST", headers: json, body}),
  blind: fetch("URL/graphql", {method: "POST", mode: "no-cors", body}).then(() => { throw "unseen"; }),
  beacon: new Promise((_, no) => { navigator.sendBeacon("URL/graphql?ASKED", body); no(); }),
  socket: new Promise((yes, no) => {
    Object.assign(new WebSocket("WS/graphql", "graphql-ws"), {onopen: yes, onerror: no});
  }),
};
for (const [name, promise] of Object.entries(tries)) promise.then(...tell(name));
</script></body></html>"""


@pytest.mark.browser
@pytest.mark.parametrize("name", ["localhost", "127.0.0.1"])
def test_a_page_of_another_origin_in_a_browser_starts_nothing(deployment, page, page_elsewhere, name: str) -> None:
    """From another site (localhost to 127.0.0.1) and from another port of the same."""
    asked, body = mutation(deployment)
    html = ATTACK.replace("ASKED", asked.replace("&", "&amp;")).replace("BODY", json.dumps(body))
    page_elsewhere.html = html.replace("URL", deployment.url).replace("WS", deployment.url.replace("http", "ws"))
    elsewhere = f"http://{name}:{page_elsewhere.server_port}/"
    statuses: list[tuple[str, str, int]] = []
    ours = deployment.url + "/"
    page.on("response", lambda r: r.url.startswith(ours) and statuses.append((r.request.method, r.url, r.status)))
    page.goto(elsewhere)
    page.wait_for_function("() => Object.keys(told).length === 5")
    page.wait_for_timeout(3000)
    assert set(page.evaluate("told").values()) == {"refused"}
    assert len(statuses) >= 6
    assert {status for _, _, status in statuses} <= {403, 405, 415}, statuses
    # a link that a person follows opens GraphQL's address with the whole query
    page.evaluate("url => { location = url; }", f"{deployment.url}/graphql?{asked}")
    page.wait_for_timeout(2000)
    assert deployment.runs() == []
    # and from the UI's own page the same request is taken
    page.goto(f"{deployment.url}/runs")
    page.evaluate(
        "b => fetch('/graphql', {method: 'POST', headers: {'Content-Type': 'application/json'}, body: b})", body
    )
    assert len(deployment.runs()) == 1
