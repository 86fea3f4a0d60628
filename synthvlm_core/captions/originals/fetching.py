"""Pictures from the web, for addresses that strangers wrote.

Belongs here: requests, redirects, limits, what becomes of each address. Does not belong here: which addresses may be
connected to (captions/readers/access.py), what a picture is (decoding.py).

    only http and https             any other scheme, and what is no address, is an outcome
    only public addresses           looked at where the socket is made, for every redirect and every answer of a name
                                    server anew; SYNTHVLM_PRIVATE_HOSTS names what may be asked all the same
    limits                          bytes as they come, seconds for a picture with all its redirects, pixels, redirects
    nothing is sent along           no cookies, no Referer, no user and password of an address, no proxy's
    nothing is unpacked             a picture that comes with a Content-Encoding is refused
    opt-out                         `X-Robots-Tag: noai, noimageai, noindex, noimageindex`, for everybody or for
                                    `synthvlm`, is honoured as img2dataset does
    fairness                        few requests to one host at once; a host that does not answer several times in a
                                    row is not asked any more in this round, and holds up nobody else
"""

import asyncio
import contextlib
import http
import math
import socket
import ssl
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from typing import Final

import aiohttp
from yarl import URL

from synthvlm_core.captions.readers import access
from synthvlm_core.captions.readers.access import Guard
from synthvlm_core.decoding import UndecodableImage, decode
from synthvlm_core.parts.originals import NO_ADDRESS, OK, Find, Outcome, Wanted

TOKEN: Final = "synthvlm"
"""Our name for `X-Robots-Tag`."""
OPT_OUT: Final = frozenset({"noai", "noimageai", "noindex", "noimageindex"})
REDIRECTS: Final = 5
TRIES: Final = 3
"""Of a request that may go well another time."""
DEAD_AFTER: Final = 4
"""Times in a row that a host did not answer."""

_HEADERS: Final = {"Accept": "image/jpeg,image/png,image/webp,image/*;q=0.8", "Accept-Encoding": "identity"}
_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_SILENT: Final = frozenset({"no such host", "no connection", "timed out"})
_PASSING: Final = frozenset({"no connection", "cut off"})
_CONNECT_SECONDS: Final = 10.0
_LONGEST_WAIT: Final = 5.0
_CHUNK: Final = 1 << 16
_ROUND_BYTES: Final = 512 << 20
"""Bytes of pictures after which a round asks for no more: the rest comes in the next."""
_NAME_SERVERS: Final = 64


@dataclass(frozen=True)
class Limits:
    """What one picture and one round may take; `Web` says what each is."""

    max_bytes: int
    seconds: float
    at_once: int
    per_host: int


class _Failed(Exception):
    """A picture that cannot be had, and the outcome's word."""

    def __init__(self, word: str, wait: float | None = None) -> None:
        super().__init__(word)
        self.word, self.wait = word, wait
        """`wait`: seconds after which to ask again, None if that is of no use."""


def fetcher(limits: Limits) -> Find:
    """What fetches pictures, in rounds of one call each."""

    def find(wanted: Sequence[Wanted], tick: Callable[[int], None]) -> list[Outcome | None]:
        return asyncio.run(_Round(limits, wanted, tick).run())

    return find


class _Round:
    """Some pictures at once, an address that stands several times among them once."""

    def __init__(self, limits: Limits, wanted: Sequence[Wanted], tick: Callable[[int], None]) -> None:
        self._limits, self._tick = limits, tick
        self._wanted = [one.url for one in wanted]
        self._outcomes: dict[str | None, Outcome] = {None: Outcome(NO_ADDRESS), "": Outcome(NO_ADDRESS)}
        self._hosts: dict[str, deque[tuple[str, URL]]] = {}
        self._silent: dict[str, int] = {}
        self._bytes = self._done = 0
        for address in dict.fromkeys(one for one in self._wanted if one):
            try:
                url = _checked(address)
            except _Failed as failure:
                self._outcomes[address] = Outcome(failure.word)
            else:
                self._hosts.setdefault(url.host or "", deque()).append((address, url))

    async def run(self) -> list[Outcome | None]:
        """What became of each, None where it was not asked for yet."""
        slots = asyncio.Semaphore(self._limits.at_once)
        with _threads(_NAME_SERVERS) as names, _threads(2) as decoders:
            async with _session(names) as session, asyncio.TaskGroup() as tasks:
                for host, waiting in self._hosts.items():
                    for _ in range(min(self._limits.per_host, len(waiting))):
                        tasks.create_task(self._work(host, waiting, session, slots, decoders))
        return [self._outcomes.get(address) for address in self._wanted]

    async def _work(
        self,
        host: str,
        waiting: deque[tuple[str, URL]],
        session: aiohttp.ClientSession,
        slots: asyncio.Semaphore,
        decoders: Executor,
    ) -> None:
        """Ask one host for one picture after another."""
        while waiting:
            async with slots:
                if not waiting or self._bytes >= _ROUND_BYTES:
                    return
                address, url = waiting.popleft()
                if self._silent.get(host, 0) >= DEAD_AFTER:
                    outcome = Outcome("host does not answer")
                else:
                    outcome = await self._outcome(url, session, decoders)
                    self._silent[host] = self._silent.get(host, 0) + 1 if outcome.word in _SILENT else 0
            self._outcomes[address] = outcome
            self._bytes += len(outcome.data or b"")
            self._done += 1
            self._tick(min(self._done, len(self._wanted)))

    async def _outcome(self, url: URL, session: aiohttp.ClientSession, decoders: Executor) -> Outcome:
        try:
            async with asyncio.timeout(self._limits.seconds):
                data = await self._insisted(url, session)
                return await asyncio.get_running_loop().run_in_executor(decoders, _judged, data)
        except TimeoutError:
            return Outcome("timed out")
        except _Failed as failure:
            return Outcome(failure.word)

    async def _insisted(self, url: URL, session: aiohttp.ClientSession) -> bytes:
        """The bytes behind an address, asked for again where that may help."""
        for attempt in range(1, TRIES + 1):
            try:
                return await self._followed(url, session)
            except _Failed as failure:
                if failure.wait is None or attempt == TRIES:
                    raise
                await asyncio.sleep(min(max(failure.wait, 0.25 * 2**attempt), _LONGEST_WAIT))
        raise AssertionError("the last try returned or raised")

    async def _followed(self, url: URL, session: aiohttp.ClientSession) -> bytes:
        """The bytes behind an address and its redirects, each of which is looked at like the first."""
        for _ in range(REDIRECTS + 1):
            try:
                async with session.get(url, allow_redirects=False) as response:
                    if response.status not in _MOVED:
                        return await self._read(response)
                    where = response.headers.get("Location")
            except _Failed:
                raise
            except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
                word = _word(error)
                raise _Failed(word, 0.0 if word in _PASSING else None) from error
            if not where:
                raise _Failed("redirect to nowhere")
            try:
                url = _checked(str(url.join(URL(where))))
            except ValueError as error:
                raise _Failed("no http url") from error
        raise _Failed("too many redirects")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != http.HTTPStatus.OK:
            known = response.status in set(http.HTTPStatus)
            word = f"http {response.status}" if known else "http error"
            raise _Failed(word, _retry_after(response) if response.status in _AGAIN else None)
        if any(refuses_use(value) for value in response.headers.getall("X-Robots-Tag", ())):
            raise _Failed("refuses use")
        if response.headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity"):
            raise _Failed("content encoding")
        if (response.content_length or 0) > self._limits.max_bytes:
            raise _Failed("too large")
        found = bytearray()
        async for chunk in response.content.iter_chunked(_CHUNK):
            found += chunk
            if len(found) > self._limits.max_bytes:
                raise _Failed("too large")
        return bytes(found)


def refuses_use(value: str) -> bool:
    """Whether a value of the header `X-Robots-Tag` says that we may not use the picture."""
    agent, colon, directives = value.rpartition(":")
    if colon and agent.strip().lower() != TOKEN:
        return False
    return not OPT_OUT.isdisjoint(directive.strip().lower() for directive in directives.split(","))


def _judged(data: bytes) -> Outcome:
    try:
        decode(data)
    except UndecodableImage:
        return Outcome("no picture")
    return Outcome(OK, data)


def _checked(address: str) -> URL:
    """An address that may be asked as far as it itself shows, without user and password.

    Raises:
        _Failed: if not; what its host is called is looked at when it is connected to.
    """
    try:
        url = URL(address.strip())
        port = url.port
        if url.scheme not in access.WEB or not url.host or port is None:
            raise _Failed("no http url")
        access.allow_literal(url.host)
        return url.with_user(None).with_fragment(None)
    except access.Refused as refused:
        raise _Failed("private address") from refused
    except ValueError as error:
        raise _Failed("no http url") from error


def _word(error: BaseException) -> str:
    """What an error of a request means."""
    if access.refusal(error) is not None:
        return "private address"
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorDNSError | socket.gaierror | UnicodeError):
        return "no such host"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "no safe connection"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "no connection"
    if isinstance(error, aiohttp.InvalidURL | ValueError):
        return "no http url"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ServerConnectionError | OSError):
        return "cut off"
    return "no http answer"


def _retry_after(response: aiohttp.ClientResponse) -> float:
    """Seconds that a server asks to wait, 0 where it says none that can be read."""
    try:
        found = float(response.headers.get("Retry-After", "0"))
    except ValueError:
        return 0.0
    return found if math.isfinite(found) and found > 0 else 0.0


def _session(names: Executor) -> aiohttp.ClientSession:
    guard = Guard(names)
    connector = aiohttp.TCPConnector(
        resolver=guard, socket_factory=guard.socket, use_dns_cache=False, limit=0, force_close=False
    )
    return aiohttp.ClientSession(
        connector=connector,
        auto_decompress=False,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={**_HEADERS, "User-Agent": f"{TOKEN}/{version('synthvlm')}"},
        timeout=aiohttp.ClientTimeout(total=None, connect=None, sock_connect=_CONNECT_SECONDS, sock_read=None),
    )


@contextlib.contextmanager
def _threads(count: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that nobody waits for in the end: a name server may be silent for long."""
    pool = ThreadPoolExecutor(count)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
