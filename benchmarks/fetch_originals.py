"""Original images from a server on loopback: pictures per second, beside plain aiohttp in the same run.

    python benchmarks/fetch_originals.py [PICTURES]

The server is a process of its own and answers at once. Plain aiohttp gets the same addresses with as many requests at
once and throws the bytes away; ours looks at every address, reads within limits and decodes each picture. A third run
has ten dead hosts among the others, which shows what they cost the rest.
"""

import argparse
import asyncio
import io
import multiprocessing
import os
import socket
import time

import aiohttp
import numpy as np
from aiohttp import web
from PIL import Image

from synthvlm_core.captions.originals.fetching import Limits, fetcher
from synthvlm_core.captions.readers.access import PRIVATE_HOSTS
from synthvlm_core.parts.originals import OK, Wanted

AT_ONCE = 128


def picture(side: int = 256) -> bytes:
    """A JPEG of the size that img2dataset's default leaves."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (side // 8, side // 8, 3), np.uint8)
    Image.fromarray(noise).resize((side, side)).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def serve(port: int, body: bytes) -> None:
    """Answer every request with the same picture, for ever."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=body, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{what:.*}", answer)
    web.run_app(app, host="127.0.0.1", port=port, print=None, access_log=None)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


async def plain(urls: list[str]) -> float:
    """Seconds of aiohttp alone."""
    slots = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def one(url: str) -> None:
            async with slots, session.get(url) as response:
                await response.read()

        start = time.perf_counter()
        await asyncio.gather(*map(one, urls))
        return time.perf_counter() - start


def ours(urls: list[str]) -> tuple[float, int]:
    """Seconds, and how many pictures came."""
    start = time.perf_counter()
    found = fetcher(Limits(8 << 20, 5.0, AT_ONCE, AT_ONCE))([Wanted(url, None) for url in urls], lambda done: None)
    return time.perf_counter() - start, sum(one is not None and one.word == OK for one in found)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("pictures", type=int, nargs="?", default=4_000)
    count = parser.parse_args().pictures
    body, port = picture(), free_port()
    os.environ[PRIVATE_HOSTS] = "127.0.0.0/8"
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(port, body), daemon=True)
    server.start()
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.05)
    urls = [f"http://127.0.0.1:{port}/{number}.jpg" for number in range(count)]
    floor = asyncio.run(plain(urls))
    seconds, came = ours(urls)
    print(f"{count:,} pictures of {len(body):,} bytes, {AT_ONCE} at once")
    print(f"aiohttp alone: {floor:.2f} s, {count / floor:,.0f} a second")
    print(f"ours, every picture decoded: {seconds:.2f} s, {count / seconds:,.0f} a second, {came:,} came")
    print(f"ratio {seconds / floor:.2f}")
    silent = [socket.socket() for _ in range(10)]
    for number, one in enumerate(silent):  # takes connections and never answers
        one.bind((f"127.0.0.{number + 2}", 0))
        one.listen(256)
    dead = [f"http://{one.getsockname()[0]}:{one.getsockname()[1]}/{n}.jpg" for one in silent for n in range(20)]
    late, came = ours(dead + urls)
    print(f"with 200 addresses of 10 hosts that never answer: {late:.2f} s, {came:,} came (limit of 5 s a picture)")
    server.terminate()


if __name__ == "__main__":
    main()
