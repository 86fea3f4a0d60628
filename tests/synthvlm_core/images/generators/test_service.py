"""A generator that is a service: one class that posts prompts to a server, and everything behind it is as ever.

The server is a real one on loopback, started here. It draws what it is asked for in colours of its own choice, keeps a
list of words that it will not draw, and never draws the same picture twice.
"""

import base64
import http.server
import io
import itertools
import json
import threading
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pytest
from harness import GENERATORS, PAINTER, painted, registered
from PIL import Image

from synthvlm_core.decoding import decode
from synthvlm_core.errors import RecipeError
from synthvlm_core.images import checks
from synthvlm_core.images.synthetic import SyntheticImages, definition
from synthvlm_core.parts.generator import Drawn, Generator, Request, seed_of
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.section import Incidental
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store

Edit = Callable[[Recipe, dict[str, object]], Recipe]
SOURCE = "laion"
REFUSED = "purple"
"""One of the four kept captions has this word."""


class Service(Generator):
    """Pictures by POST, a prompt each."""

    kind: Literal["service"]
    version: ClassVar[int] = 1
    replayable = False
    url: Annotated[str, Incidental()]
    """Where the service is; it may move."""
    draws_with: str
    """Which of its models is asked: all that there is to name."""

    def load(self, context: Context) -> "Client":
        return Client(self, context.seed)

    def drawn_by(self) -> str:
        return f"`{self.draws_with}`, a service"


class Client:
    def __init__(self, section: Service, seed: int) -> None:
        self._section, self._seed = section, seed
        self.description: dict[str, Any] = {"service": section.draws_with}

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        return [self._ask(request) for request in requests]

    def _ask(self, request: Request) -> Drawn:
        section = self._section
        body = {"prompt": request.text, "width": section.width, "height": section.height}
        with urllib.request.urlopen(section.url, json.dumps(body).encode(), timeout=10) as response:
            answer = json.load(response)
        pixels = None
        if "picture" in answer:
            pixels = np.asarray(decode(base64.b64decode(answer["picture"])), dtype=np.float32) / 255
        return Drawn(request, seed_of(self._seed, request.caption_id, request.k, request.attempt), pixels)


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The server's address, and the prompts that it was given so far."""
    asked: list[str] = []
    numbers = itertools.count()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append(body["prompt"])
            answer = {"refused": "against the rules of the house"}
            if REFUSED not in body["prompt"]:
                buffer = io.BytesIO()
                pixels = painted(next(numbers), body["width"], body["height"])
                Image.fromarray((pixels * 255).round().astype(np.uint8)).save(buffer, "PNG")
                answer = {"picture": base64.b64encode(buffer.getvalue()).decode()}
            data = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        thread = threading.Thread(target=found.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}/", asked
        found.shutdown()
        thread.join()


@pytest.fixture
def served(small_recipe: Recipe, edited: Edit, server: tuple[str, list[str]]) -> Iterator[Recipe]:
    with registered(GENERATORS, Service):
        yield edited(
            small_recipe, {"generator": {**PAINTER, "kind": "service", "url": server[0], "draws_with": "house-style-3"}}
        )


def rows(stage: SyntheticImages) -> list[dict[str, Any]]:
    return pa.concat_tables(stage.folder.tables(stage.folder.names())).to_pylist()


def test_from_captions_to_stored_images_over_http(
    filtered: Store, served: Recipe, server: tuple[str, list[str]]
) -> None:
    stage = SyntheticImages(filtered, served, SOURCE)
    manifest = stage.make()
    assert (manifest["wanted"], manifest["healthy"], manifest["refused"], manifest["given_up"]) == (8, 6, 2, 2)
    assert manifest["environments"] == [{"service": "house-style-3"}]
    assert len(server[1]) == 8, "nobody asks again for what was refused"
    by_health = {health: [row for row in rows(stage) if row["health"] == health] for health in ("ok", "refused")}
    assert {REFUSED in row["text"] for row in by_health["refused"]} == {True}
    assert {(row["image"], row["width"], row["height"]) for row in by_health["refused"]} == {(None, 0, 0)}
    assert {decode(row["image"]["bytes"]).size for row in by_health["ok"]} == {(64, 64)}
    assert {row["prompt_tokens"] for row in rows(stage)} == {None}

    assert SyntheticImages(filtered, served, SOURCE).make()["drawn"] == 0
    assert len(server[1]) == 8


def test_every_check_holds_once_the_recipe_allows_refusals(filtered: Store, served: Recipe, edited: Edit) -> None:
    lenient = SyntheticImages(filtered, edited(served, {"generator.health.max_unhealthy_share": 0.25}), SOURCE)
    lenient.make()
    every = (
        checks.images_add_up,
        checks.images_decode,
        checks.unhealthy_share_is_within_limit,
        checks.ids_and_seeds_are_sound,
        checks.shards_are_undamaged,
    )
    assert [check(lenient).summary for check in every if not check(lenient).passed] == []


def test_drawn_again_it_is_another_picture_under_the_same_id(filtered: Store, served: Recipe) -> None:
    """Which is why a score is kept by the picture that it was computed from."""
    stage = SyntheticImages(filtered, served, SOURCE)
    before = {row["image_id"]: row["image"] for row in rows_after(stage)}
    for name in stage.folder.names():
        filtered.fs.rm(f"{stage.folder.path}/{name}")
    after = {row["image_id"]: row["image"] for row in rows_after(SyntheticImages(filtered, served, SOURCE))}
    assert before.keys() == after.keys()
    assert all(before[key]["path"] != after[key]["path"] for key in before if before[key] is not None)


def rows_after(stage: SyntheticImages) -> list[dict[str, Any]]:
    stage.make()
    return rows(stage)


def test_what_it_draws_with_names_the_images_and_where_it_is_does_not(served: Recipe, edited: Edit) -> None:
    assert definition(edited(served, {"generator.url": "http://127.0.0.1:1/"})) == definition(served)
    assert definition(edited(served, {"generator.draws_with": "house-style-4"})) != definition(served)


def test_the_card_promises_no_replay(served: Recipe, small_recipe: Recipe) -> None:
    assert served.generator.told() == (
        "`house-style-3`, a service, 64×64 pixels, 2 per caption; asked again, it need not draw the same picture"
    )
    assert "asked again" not in small_recipe.generator.told()


def test_outside_the_test_nobody_knows_the_kind(
    small_recipe: Recipe, edited: Edit, server: tuple[str, list[str]]
) -> None:
    with pytest.raises(RecipeError, match="diffusers"):
        edited(small_recipe, {"generator": {**PAINTER, "kind": "service", "url": server[0], "draws_with": "x"}})
