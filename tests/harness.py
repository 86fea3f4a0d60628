"""What tests of several rooms share: a store whose process dies, parts for one test, a generator that paints.

Belongs here: doubles for what a test cannot wait for or cannot kill, and the way to a stage's inputs. Does not belong
here: fixtures (the conftests) and doubles of one room alone.

    with registered("synthvlm_core.images.generators", Painter):
        recipe = edited(small_recipe, {"generator": PAINTER})
"""

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from synthvlm_core.captions.filtered import FilteredCaptions
from synthvlm_core.captions.raw import RawCaptions
from synthvlm_core.parts.generator import Drawer, Drawn, Generator, Request, seed_of
from synthvlm_core.parts.part import Context, Part, kinds
from synthvlm_core.parts.rule import Rule
from synthvlm_core.parts.section import Section
from synthvlm_core.progress import Progress
from synthvlm_core.recipe import sections
from synthvlm_core.recipe.sections import Recipe
from synthvlm_core.store.objects import Store


class Killed(BaseException):
    """Not an Exception: nothing may catch it on the way."""


class Mortal(Store):
    """A store whose process dies at the n-th write, counted from 0, before or after the object appeared.

    `writes` counts down: after a run that survived, it is how many more there might have been.
    """

    def __init__(self, url: str, writes: int, *, after: bool = False) -> None:
        super().__init__(url)
        self.writes, self.after = writes, after

    def put(self, path: str, data: bytes) -> bool:
        return bool(self._survive(lambda: Store.put(self, path, data)))

    def replace(self, path: str, data: bytes) -> None:
        self._survive(lambda: Store.replace(self, path, data))

    def _survive(self, write: Callable[[], Any]) -> Any:
        self.writes -= 1
        if self.writes < 0 and not self.after:
            raise Killed
        result = write()
        if self.writes < 0:
            raise Killed
        return result


def killed_at(step: int) -> Progress:
    """A progress report under which the process dies once `step` is done."""

    def progress(what: str, done: int, total: int) -> None:
        if done == step:
            raise Killed

    return progress


def filter_captions(store: Store, recipe: Recipe) -> None:
    """From the recipe's source files to the kept captions of all sources."""
    for source in recipe.sources:
        RawCaptions(store, recipe, source.name).make()
        FilteredCaptions(store, recipe, source.name).make()


@contextlib.contextmanager
def registered(room: str, *parts: type[Part]) -> Iterator[None]:
    """A room that offers further parts: recipes take their words meanwhile, and refuse them afterwards.

    A part that is registered already stays so. Recipes are to be loaded within; the schema is built anew on both ends,
    which takes some hundredths of a second.
    """
    package: Any = importlib.import_module(room)
    new = tuple(part for part in parts if part not in package.PARTS)
    package.PARTS = (*package.PARTS, *new)
    try:
        _build_schema()
        yield
    finally:
        package.PARTS = tuple(part for part in package.PARTS if part not in new)
        _build_schema()


def _build_schema() -> None:
    """Let the recipe's sections look again at what the rooms offer, the inner ones first: pydantic keeps schemas."""
    kinds.cache_clear()
    for section in list(vars(sections).values()):
        if isinstance(section, type) and issubclass(section, Section) and section.__module__ == sections.__name__:
            section.model_rebuild(force=True)


GENERATORS = "synthvlm_core.images.generators"
PAINTER: dict[str, Any] = {
    "kind": "painter",
    "width": 64,
    "height": 64,
    "images_per_caption": 2,
    "batch_size": 4,
    "encoding": {"format": "png"},
    "health": {"min_std": 2.0, "max_attempts": 3, "max_unhealthy_share": 0.02},
}
"""A recipe's generator section that paints."""

Fate = Literal["ok", "nan", "flat", "refused"]


class Painter(Generator):
    """Paints at once for every request a picture with structure at several scales, which follows from its seed."""

    kind: Literal["painter"]
    version: ClassVar[int] = 1
    requests: ClassVar[list[Request]] = []
    """All that was asked for, for the tests that count it; they clear it themselves."""

    def load(self, context: Context) -> Drawer:
        return _Brush(self, context.seed)

    def fate(self, request: Request) -> Fate:
        """What becomes of a request. Tests put another function in its place."""
        return "ok"


class _Brush:
    def __init__(self, section: Painter, seed: int) -> None:
        self._section, self._seed = section, seed
        self.description: dict[str, Any] = {"painter": {"size": [section.width, section.height]}}

    def draw(self, requests: Sequence[Request]) -> list[Drawn]:
        Painter.requests.extend(requests)
        return [self._paint(request) for request in requests]

    def _paint(self, request: Request) -> Drawn:
        fate = self._section.fate(request)
        seed = seed_of(self._seed, request.caption_id, request.k, request.attempt)
        pixels = painted(seed, self._section.width, self._section.height)
        if fate == "nan":
            pixels[0, 0] = np.nan
        elif fate == "flat":
            pixels[:] = 0.0
        words = len(request.text.split())
        return Drawn(request, seed, None if fate == "refused" else pixels, words, words > 12)


def painted(seed: int, width: int = 64, height: int = 64) -> np.ndarray:
    """Height x width x 3 in [0, 1], float32 in whole 255ths: coarse patches under fine noise, another for each seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = (pixels + rng.integers(-25, 26, pixels.shape)).clip(0, 255)
    return (noisy / 255).astype(np.float32)


def of_kind(rules: Sequence[Rule], kind: type[Rule]) -> Rule | None:
    """The rule of a kind, if the recipe has it."""
    return next((rule for rule in rules if isinstance(rule, kind)), None)
