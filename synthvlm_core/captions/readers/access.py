"""The one door to files: which places a source may name, and which addresses are ever connected to.

Belongs here: file systems by URL, and the guard of web addresses. Does not belong here: bytes (opening.py), finding
files (captions/files.py).

A recipe may come from anybody, so a URL in it must not make this machine ask what only this machine can reach. For the
web the guard stands where a connection is made: whatever a name resolves to at that moment, however an address is
written and wherever a redirect leads, a socket to an address that is not public is never opened. An intranet's own
file servers are named by the person who runs the machine:

    SYNTHVLM_PRIVATE_HOSTS=files.intranet,10.1.2.3,192.168.7.0/24

Object stores are reached through their own clients, at the endpoint that this machine's settings say (AWS_ENDPOINT_URL
and the like); a URL in a recipe cannot change it.
"""

import asyncio
import ipaddress
import os
import socket
from concurrent.futures import Executor
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import fsspec
from aiohttp.abc import AbstractResolver, ResolveResult
from fsspec.implementations.http import HTTPFileSystem
from fsspec.implementations.local import LocalFileSystem

from synthvlm_core.parts.source import Unreadable

PRIVATE_HOSTS = "SYNTHVLM_PRIVATE_HOSTS"
WEB = ("http", "https")
STORES = ("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf")
LOCAL = ("file", "local")

_INSTALL = {
    "s3": "s3fs",
    "s3a": "s3fs",
    "gs": "gcsfs",
    "gcs": "gcsfs",
    "az": "adlfs",
    "abfs": "adlfs",
    "abfss": "adlfs",
    "hf": "huggingface_hub",
}
_AZURE = (".core.windows.net", ".core.chinacloudapi.cn", ".core.usgovcloudapi.net", ".fabric.microsoft.com")
_ALLOWED = f"Sources are local paths and URLs of {', '.join((*WEB, *STORES, 'file'))}"
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_COMPATIBLE = ipaddress.ip_network("::/96")
# seconds; a server that says nothing for so long is not there
_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=30, sock_connect=15, sock_read=60)
_NUMERIC = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
_AS_IT_LIES = {"Accept-Encoding": "identity"}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Refused(OSError):
    """A connection that is not made, and how the person who runs the machine may allow it."""


def filesystem(url: str) -> tuple[Any, str]:
    """The file system of a path or URL, and its path there. Requests nothing.

    Raises:
        Unreadable: if sources may not lie there, or the client for it is not installed.
    """
    if "://" not in url:
        return LocalFileSystem(), url
    protocol = url.partition("://")[0].lower()
    if "::" in url and _is_chain(url):
        raise Unreadable(url, "is a chain of file systems", f"Name the file itself. {_ALLOWED}")
    if protocol in LOCAL:
        return LocalFileSystem(), LocalFileSystem._strip_protocol(url)
    if protocol in WEB:
        return _web(url)
    if protocol not in STORES:
        raise Unreadable(url, f"{protocol}:// is no place for sources", _ALLOWED)
    if not url.partition("://")[2].partition("/")[0]:
        raise Unreadable(url, "names no bucket", f"Write {protocol}://BUCKET/FILE")
    if protocol in ("az", "abfs", "abfss"):
        host = (urlsplit(url).hostname or "") if "@" in url.partition("://")[2].partition("/")[0] else ""
        if host and not host.endswith(_AZURE) and host not in _named():
            raise Unreadable(url, f"{host} is no host of Azure's", f"Correct it, or set {PRIVATE_HOSTS}={host}")
    try:
        found, path = fsspec.url_to_fs(url)
    except ImportError as error:
        remedy = f"pip install {_INSTALL[protocol]}, in the environment of every process that reads sources"
        raise Unreadable(url, f"{protocol}:// needs {_INSTALL[protocol]}, which is not installed", remedy) from error
    return found, path


def is_public(address: Address) -> bool:
    """Whether an address, or the IPv4 address that it carries, belongs to the internet at large."""
    if isinstance(address, ipaddress.IPv6Address):
        carried = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
            carried = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(carried)
        if address.is_site_local:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def refusal(error: BaseException | None) -> Refused | None:
    """The refused connection behind an error, however deep a client buried it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        if isinstance(error, Refused):
            return error
        seen.add(id(error))
        error = getattr(error, "os_error", None) or error.__cause__ or error.__context__
    return None


def _is_chain(url: str) -> bool:
    """Whether fsspec would take a URL for a chain; `::` within the brackets of an IPv6 address is none."""
    host = url.partition("://")[2].partition("/")[0]
    return "::" in (url.replace(host, "", 1) if host.rpartition("@")[2].startswith("[") else url)


def _web(url: str) -> tuple[Any, str]:
    try:
        host = urlsplit(url).hostname
    except ValueError as error:
        raise Unreadable(url, f"is no URL: {error}", "Correct it") from error
    if not host:
        raise Unreadable(url, "names no host", "Correct it")
    try:
        allow_literal(host)
    except Refused as refused:
        what, _, remedy = str(refused).partition(". ")
        raise Unreadable(url, f"is not requested: {what}", remedy) from refused
    found = HTTPFileSystem(get_client=_client)
    found.kwargs.pop("proxy", None)  # a proxy would connect where the guard does not see it
    return found, url


async def _client(**options: Any) -> aiohttp.ClientSession:
    """fsspec's session for the web, with the guard in it. What a person set for fsspec (headers, say) holds."""
    for name in ("connector", "trust_env", "proxy", "proxy_auth"):
        options.pop(name, None)
    resolver = Guard()
    connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=resolver.socket, use_dns_cache=False)
    # bytes as they lie on the server: a .gz that is sent with Content-Encoding: gzip is unpacked once, by its name
    return aiohttp.ClientSession(
        connector=connector, auto_decompress=False, **{"timeout": _TIMEOUT, "headers": _AS_IT_LIES, **options}
    )


class Guard(AbstractResolver):
    """Resolves names and opens sockets: the addresses that it looked at are those that are connected to.

    A name that the person named may have any address; that address is no other name's for it. An address that stands
    in a URL itself passes no name server, and is looked at by `allow_literal`.
    """

    def __init__(self, threads: Executor | None = None) -> None:
        """
        Args:
            threads: where name servers are waited for, by default those of the loop.
        """
        self._threads = threads
        self._passed: set[str] = set()  # addresses of names that were let through

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        ask = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG)
        try:
            answers = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        except UnicodeError as error:  # no name server was asked for such a name
            raise socket.gaierror(socket.EAI_NONAME, f"{host!a} is no host's name") from error
        numeric = socket.NI_NUMERICHOST | socket.NI_NUMERICSERV
        found = []
        for kind, _, protocol, _, address in answers:
            where = str(address[0]) if kind == socket.AF_INET else socket.getnameinfo(address, numeric)[0]
            found.append(
                ResolveResult(
                    hostname=host, host=where, port=int(address[1]), family=kind, proto=protocol, flags=_NUMERIC
                )
            )
        if host.rstrip(".").lower() not in _named():
            for entry in found:
                _allow(host, entry["host"])
        self._passed |= {entry["host"] for entry in found}
        return found

    def socket(self, info: tuple[Any, Any, int, str, tuple[Any, ...]]) -> socket.socket:
        """A socket for one address, unless nobody may connect there."""
        family, kind, protocol, _, address = info
        if address[0] not in self._passed:
            _allow(address[0], address[0])
        return socket.socket(family=family, type=kind, proto=protocol)

    async def close(self) -> None:
        """Nothing is held."""


def allow_literal(host: str) -> None:
    """Raises Refused if a URL's host is an address itself, and nobody may connect there."""
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:  # a name
        return
    if host.lower() not in _named():
        _allow(host, host)


def _allow(host: str, address: str) -> None:
    """Raises Refused unless the address is public, or the person named it."""
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if is_public(parsed) or any(parsed in network for network in _networks()):
        return
    which = host if host == address else f"{host} ({address})"
    raise Refused(
        f"{which} is a private address, which no source is read from. If this machine's owner wants that, set "
        f"{PRIVATE_HOSTS}={host} (names, addresses or networks, separated by commas)"
    )


def _named() -> set[str]:
    return {part.strip().rstrip(".").lower() for part in os.environ.get(PRIVATE_HOSTS, "").split(",") if part.strip()}


def _networks() -> list[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    found = []
    for name in _named():
        try:
            found.append(ipaddress.ip_network(name.strip("[]"), strict=False))
        except ValueError:
            continue  # a host's name
    return found
