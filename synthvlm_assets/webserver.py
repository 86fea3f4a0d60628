"""Dagster's webserver, answering its own pages and programs alone: no page of another origin.

Belongs here: which requests are refused, and how the page opens for who sees it first. Does not belong here: starting
processes and listening (ui.py).

A browser sends requests to this machine for any page that it shows, and Dagster's webserver runs what they ask for: it
takes a mutation as a GET, as a form or over a WebSocket, from anywhere. Here a request passes three questions, before
any of Dagster's code sees it:

1. Is its `Host` a name of this server? A foreign name that was made to point here (DNS rebinding) is none.
2. Does its `Origin`, if it has one, name the host that it was sent to?
3. If the browser says where it comes from (`Sec-Fetch-Site`), is that here, or a person who opened the page?

GraphQL is taken as JSON in the body of a POST only, which no page can send elsewhere without asking first. Programs on
this machine (`curl`, Dagster's clients) send none of these headers but `Host`, and pass. That is no password: who may
open the page may do all.
"""

import json
import logging
import re
from collections.abc import Collection

from dagster._core.workspace.context import IWorkspaceProcessContext
from dagster_webserver.webserver import DagsterWebserver
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FIRST = "/asset-groups"
"""The page of the whole graph."""
_GROUPS = ",".join(f"global@global:{group}" for group in ("captions", "images", "release", "training"))
_OPEN = ("global-__GLOBAL__", "job-curate_and_draw")
"""Graphs of more than one group: Dagster shows each of their groups as one closed box until somebody opens it."""
_OPENED = "".join(
    f"localStorage.getItem({key!r}) ?? localStorage.setItem({key!r}, {json.dumps({'expanded': _GROUPS})!r});"
    for key in (f"asset-graph-open-graph-nodes-{graph}" for graph in _OPEN)
)
"""What a browser runs before the page: it opens the groups unless this browser remembers what somebody chose."""
_NONCE = re.compile(rb'<script nonce="([0-9a-f]+)">')

LOOPBACK = ("localhost", "127.0.0.1", "[::1]")
_ORIGIN = re.compile(r"https?://([^/?#@\s]+)")
_NAME = re.compile(r"([\w.-]+|\[[0-9a-f:]+\])(:\d+)?", re.IGNORECASE | re.ASCII)

logger = logging.getLogger("dagster.ui")


def names_of(listed: str) -> frozenset[str]:
    """Host names of a list with commas, as in a browser's address bar: with the port unless it is 80 or 443.

    Raises:
        ValueError: if one of them is no host name.
    """
    names = [name.strip() for name in listed.split(",") if name.strip()]
    for name in names:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no host name: write it as in the address bar, like synthvlm.lan:8080")
    return frozenset(name.lower() for name in names)


class GuardedWebserver(DagsterWebserver):
    """Dagster's webserver behind `SameOrigin`, with GraphQL as the JSON body of a POST only.

    Args:
        process_context: as Dagster's own.
        names: hosts beside the loopback ones that this server answers to.
    """

    def __init__(self, process_context: IWorkspaceProcessContext, names: Collection[str] = ()) -> None:
        self._names = frozenset(names)
        super().__init__(process_context, live_data_poll_rate=2000)

    def build_middleware(self) -> list[Middleware]:
        return [Middleware(SameOrigin, names=self._names), *super().build_middleware()]

    def index_html_endpoint(self, request: Request) -> Response:
        if request.url.path == "/":  # Dagster's choice is a timeline of runs, and there may be none yet
            return RedirectResponse(_FIRST)
        page: Response = super().index_html_endpoint(request)
        found = _NONCE.search(page.body)
        if found is not None:  # the first script of Dagster's page: another version may have none
            script = b'<script nonce="%b">%b</script>' % (found[1], _OPENED.encode())
            page.body = bytes(page.body).replace(found[0], script + found[0], 1)
            page.headers["Content-Length"] = str(len(page.body))
        return page

    async def graphql_http_endpoint(self, request: Request) -> Response:
        if request.method != "POST" and request.url.query:
            return _refusal("GraphQL is taken by POST alone", 405, {"Allow": "POST"})
        # Dagster looks for the word anywhere in the header: "text/plain; application/json" needs no leave of ours
        media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if request.method == "POST" and media_type != "application/json":
            return _refusal("GraphQL is taken as application/json alone", 415)
        response: Response = await super().graphql_http_endpoint(request)
        return response


class SameOrigin:
    """ASGI middleware: refuses what was sent to another name, or by a page of another origin, with status 403.

    Links from other sites to a page open it; no other site shows it in a frame.

    Args:
        names: hosts beside the loopback ones of the port served.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = ()) -> None:
        self._app, self._names = app, frozenset(names)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        wrong = self._wrong(scope)
        if wrong is None:
            await self._app(scope, receive, _in_no_frame(send) if scope["type"] == "http" else send)
            return
        logger.warning("Refused %s: %s", scope["path"], wrong)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})  # before it is accepted: the client gets a 403
        else:
            await _refusal(wrong, 403)(scope, receive, send)

    def _wrong(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or (host := hosts[0].lower()) not in self._answered(scope):
            return f"this server does not answer to {hosts}; if it should, start it with --name (docs/security.md)"
        if origins and not all(self._same(origin, host) for origin in origins):
            return f"a page of {origins} may not use this server; if it should, name it by --name (docs/security.md)"
        sites = headers.getlist("sec-fetch-site")
        if not all(site in ("same-origin", "none") for site in sites) and not _opens_a_page(scope, headers):
            return "a page of another origin may not use this server"
        return None

    def _answered(self, scope: Scope) -> frozenset[str]:
        port = scope["server"][1]
        own = [f"{name}:{port}" for name in LOOPBACK]
        return self._names.union(own, LOOPBACK if port == 80 else ())

    def _same(self, origin: str, host: str) -> bool:
        found = _ORIGIN.fullmatch(origin.lower())
        # a proxy may put its own name for this server into Host; the browser's is then one of those named
        return found is not None and found[1] in self._names.union([host])


def _opens_a_page(scope: Scope, headers: Headers) -> bool:
    """Whether a person followed a link: a page of its own, of which the one with the link sees nothing."""
    asked = (scope.get("method"), headers.get("sec-fetch-mode"), headers.get("sec-fetch-dest"))
    return asked == ("GET", "navigate", "document")


def _in_no_frame(send: Send) -> Send:
    """Another site that showed the UI in a frame could have a person click what it does not show."""

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["X-Frame-Options"] = "SAMEORIGIN"
        await send(message)

    return sending


def _refusal(why: str, status: int, headers: dict[str, str] | None = None) -> Response:
    return PlainTextResponse(f"{why}\n", status, {"X-Content-Type-Options": "nosniff", **(headers or {})})
