"""Pictures from the web: a server on loopback that behaves as the web does, well and badly."""

import asyncio
import gzip
import io
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator

import pytest
from aiohttp import web
from PIL import Image

from synthvlm_core.captions.originals.fetching import DEAD_AFTER, Limits, fetcher, refuses_use
from synthvlm_core.captions.readers import access
from synthvlm_core.parts.originals import OK, Outcome, Wanted


def jpeg(side: int = 32) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), "red").save(buffer, "JPEG")
    return buffer.getvalue()


PICTURE = jpeg()


class Server:
    """A web server in a thread, on a loopback address that the guard is told to let through."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.headers: dict[str, dict[str, str]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()

    async def _start(self) -> int:
        app = web.Application()
        app.router.add_get("/{what:.*}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}/{path}"

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        what = request.match_info["what"]
        self.asked[what] += 1
        self.headers[what] = dict(request.headers)
        kind, _, rest = what.partition("/")
        if kind == "picture":
            return web.Response(body=PICTURE, content_type="image/jpeg")
        if kind == "status":
            return web.Response(status=int(rest))
        if kind == "later":  # goes well the third time
            return web.Response(status=503) if self.asked[what] < 3 else web.Response(body=PICTURE)
        if kind == "moved":
            return web.Response(status=302, headers={"Location": request.query["to"]})
        if kind == "loop":
            return web.Response(status=301, headers={"Location": f"/loop/{int(rest) + 1}"})
        if kind == "nowhere":
            return web.Response(status=301)
        if kind == "page":
            return web.Response(text="<html>not found</html>", content_type="image/jpeg")
        if kind == "tagged":
            return web.Response(body=PICTURE, headers={"X-Robots-Tag": request.query["tag"]})
        if kind == "packed":
            return web.Response(body=gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
        if kind == "stated":
            return web.Response(body=bytes(300_000))
        response = web.StreamResponse()
        response.headers["Set-Cookie"] = "seen=1"
        await response.prepare(request)
        if kind == "endless":
            while True:
                await response.write(bytes(65536))
        if kind == "drip":
            for byte in PICTURE:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.2)
        if kind == "cut":
            await response.write(PICTURE[:100])
            assert request.transport is not None
            request.transport.abort()
        return response


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1,friend.test")
    found = Server()
    yield found
    found.stop()


def fetched(*urls: str | None, seconds: float = 20.0, max_bytes: int = 200_000) -> list[Outcome]:
    told: list[int] = []
    limits = Limits(max_bytes, seconds, at_once=32, per_host=4)
    outcomes = fetcher(limits)([Wanted(url, None) for url in urls], told.append)
    assert told == sorted(told)
    return [outcome for outcome in outcomes if outcome is not None]


def words(*urls: str | None, seconds: float = 20.0) -> list[str]:
    return [outcome.word for outcome in fetched(*urls, seconds=seconds)]


def test_pictures_come_in_the_order_of_the_addresses_and_each_once(server: Server) -> None:
    urls = [server.url("picture/1"), server.url("status/404"), server.url("picture/1"), None, server.url("picture/2")]
    outcomes = fetched(*urls)
    assert [outcome.word for outcome in outcomes] == [OK, "http 404", OK, "no address", OK]
    assert outcomes[0].data == PICTURE
    assert server.asked["picture/1"] == 1


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("status/404", "http 404"),
        ("status/410", "http 410"),
        ("status/799", "http error"),
        ("page", "no picture"),
        ("loop/0", "too many redirects"),
        ("nowhere", "redirect to nowhere"),
        ("moved?to=ftp://example.com/x.jpg", "no http url"),
        ("moved?to=http://[::1", "no http url"),
        ("packed", "content encoding"),
        ("stated", "too large"),
        ("endless", "too large"),
        ("cut", "cut off"),
        ("tagged?tag=noai, follow", "refuses use"),
        ("tagged?tag=googlebot: noai", OK),
    ],
)
def test_what_a_server_may_answer(server: Server, path: str, word: str) -> None:
    assert words(server.url(path)) == [word]


def test_a_request_that_may_go_well_later_is_made_again(server: Server) -> None:
    assert words(server.url("later/1"), server.url("status/503"), server.url("status/404")) == [
        OK,
        "http 503",
        "http 404",
    ]
    assert (server.asked["later/1"], server.asked["status/503"], server.asked["status/404"]) == (3, 3, 1)


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.2:{port}/picture/x",
        "http://[::1]:{port}/picture/x",
        "http://[::ffff:127.0.0.2]:{port}/picture/x",
        "http://2130706434:{port}/picture/x",
        "http://0x7f.0.0.2:{port}/picture/x",
        "http://127.2:{port}/picture/x",
        "http://0.0.0.0:{port}/picture/x",
        "http://10.0.0.1/x.jpg",
        "http://169.254.169.254/latest/meta-data/",
        "http://100.64.0.1/x",
        "http://224.0.0.1/x",
        "http://public@127.0.0.2:{port}/picture/x",
    ],
)
def test_no_address_of_this_machine_or_its_net_is_asked(server: Server, address: str) -> None:
    direct = address.format(port=server.port)
    # other ways to write the numbers are not even taken for addresses
    word = "no http url" if "//2130706434" in address or "//127.2:" in address else "private address"
    assert words(direct) == [word]
    assert words(server.url(f"moved?to={direct}")) == [word]
    assert not [path for path in server.asked if path.startswith("picture")]


def test_a_name_that_may_be_asked_opens_its_address_to_no_other(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """friend.test and stranger.test both resolve to 127.0.0.3; the person named the first alone."""
    resolve = socket.getaddrinfo

    def answers(host: str, port: int, *rest: int) -> object:
        return resolve("127.0.0.3" if host.endswith(".test") else host, port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", answers)
    friend, stranger = server.url("picture/a", "friend.test"), server.url("picture/b", "stranger.test")
    literal = server.url("picture/c", "127.0.0.3")
    # nobody listens on 127.0.0.3, so that it was asked shows as no connection
    assert words(friend, stranger, literal) == ["no connection", "private address", "private address"]


def test_a_name_whose_second_answer_is_private_is_not_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is what is connected to: a name server that answers otherwise every time gains nothing."""
    resolve, answers = socket.getaddrinfo, itertools.cycle(["203.0.113.1", "127.0.0.2"])
    seen: list[str] = []

    def rebinding(host: str, port: int, *rest: int) -> object:
        seen.append(next(answers) if host == "rebind.test" else host)
        return resolve(seen[-1], port, *rest)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    urls = [f"http://rebind.test:{server.port}/picture/{n}" for n in range(4)]
    assert set(words(*urls, seconds=2.0)) <= {"private address", "no connection", "timed out"}
    assert "127.0.0.2" in seen
    assert not server.asked


@pytest.mark.parametrize(
    "address",
    [
        "",
        "   ",
        "picture.jpg",
        "//example.com/x.jpg",
        "ftp://example.com/x.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "http://",
        "http://[::1",
        "http://example.com:99999/x.jpg",
        "http://exa mple.com/x.jpg",
        "http://\ud800.com/x.jpg",
        "http://" + "a" * 300 + ".com/x.jpg",
        "http://..../x.jpg",
        "http://example.com:port/x.jpg",
        "http://no-such-host.invalid/x.jpg",
    ],
)
def test_a_strange_address_is_an_outcome(address: str) -> None:
    [word] = words(address)
    assert word in ("no address", "no http url", "no such host")


def test_nothing_is_sent_along(server: Server) -> None:
    there = server.url("picture/there")
    assert words(f"http://me:secret@127.0.0.1:{server.port}/moved?to={there}") == [OK]
    assert words(server.url("cut"), server.url("picture/after")) == ["cut off", OK]
    for path in ("moved", "picture/there", "picture/after"):
        sent = server.headers[path]
        assert not {"Authorization", "Cookie", "Referer"} & sent.keys()
        assert sent["User-Agent"].startswith("synthvlm/")
        assert sent["Accept-Encoding"] == "identity"


def test_no_proxy_is_taken_from_the_environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.9:1")
    assert words(server.url("picture/x")) == [OK]


def test_a_slow_server_costs_its_own_time_alone(server: Server) -> None:
    started = time.monotonic()
    slow = [server.url(f"drip/{n}") for n in range(2)]
    quick = [server.url(f"picture/{n}") for n in range(50)]
    found = words(*slow, *quick, seconds=2.0)
    assert found == ["timed out"] * 2 + [OK] * 50
    assert time.monotonic() - started < 15


def test_a_host_that_never_answers_is_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody takes its connections, so that each try would wait for the time limit."""
    monkeypatch.setenv(access.PRIVATE_HOSTS, "127.0.0.1,127.0.0.5")
    with socket.socket() as silent:
        silent.bind(("127.0.0.5", 0))
        silent.listen(0)
        dead = [f"http://127.0.0.5:{silent.getsockname()[1]}/{n}" for n in range(60)]
        found = words(*dead, *(server.url(f"picture/{n}") for n in range(20)), seconds=1.0)
    assert found[60:] == [OK] * 20
    counts = Counter(found[:60])
    assert counts.keys() == {"timed out", "host does not answer"}
    assert DEAD_AFTER <= counts["timed out"] < DEAD_AFTER + 4  # those that were under way


@pytest.mark.parametrize(
    ("value", "refuses"),
    [
        ("noai", True),
        ("NoImageAI", True),
        ("noindex, nofollow", True),
        ("nofollow", False),
        ("all", False),
        ("synthvlm: noai", True),
        ("googlebot: noindex", False),
        ("", False),
    ],
)
def test_what_opts_out(value: str, refuses: bool) -> None:
    assert refuses_use(value) == refuses
