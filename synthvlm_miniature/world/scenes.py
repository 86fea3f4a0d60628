"""Scenes: which ones exist, what is true of each, and to which split it belongs.

Belongs here: the factors (colours, shapes, sizes, places, backgrounds), sampling of scenes, the truth a scene knows
about itself, the train / test / held-out split.
Does not belong here: pixels (drawing.py, inverse.py), words about scenes (captions.py, questions.py).

A scene is one thing (55 %), two (38 %) or three small ones (7 %), in different colours, on a plain
background.

Splits, disjoint by construction:

- `HELD_OUT` lists whole (colour, shape) combinations. No `train` or `test` scene holds one of them; every
  `held_out` scene holds at least one. Every colour and every shape still appears in training.
- `train` and `test` scenes hold only seen combinations. A hash of the scene's description (all attributes,
  without the jitter) sends one description in ten to `test` and the others to `train`, whatever the
  generator.

So no description of a `test` or `held_out` scene is ever trained on. A short *caption* may fit scenes of two
splits, as it leaves attributes out; a caption with `detail="full"` cannot.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Split: TypeAlias = Literal["train", "test", "held_out"]
RGB: TypeAlias = tuple[int, int, int]

COLOURS: dict[str, RGB] = {
    "red": (220, 30, 35),
    "green": (20, 150, 60),
    "blue": (30, 70, 220),
    "yellow": (250, 205, 0),
    "purple": (145, 40, 175),
    "black": (15, 15, 20),
}
BACKGROUNDS: dict[str, RGB] = {
    "white": (255, 255, 255),
    "grey": (165, 165, 165),
    "beige": (235, 205, 145),
    "light blue": (155, 210, 245),
}
SHAPES = ("circle", "square", "triangle", "ring", "cross")
SIZES: dict[str, float] = {"small": 0.26, "large": 0.42}
"""Side of a thing's box as a share of the picture's side."""
PLACES = ("centre", "left", "right", "top", "bottom")

HELD_OUT = frozenset({("red", "ring"), ("green", "cross"), ("blue", "triangle"), ("yellow", "square")})
"""The (colour, shape) combinations that nothing is trained on."""

COUNT_SHARES = {1: 0.55, 2: 0.38, 3: 0.07}
TEST_SHARE = 0.1
ROW = ("left", "centre", "right")
COLUMN = ("top", "centre", "bottom")
OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}

_STEP = {"left": (-1, 0), "right": (1, 0), "top": (0, -1), "bottom": (0, 1), "centre": (0, 0)}
_SPREAD = {1: 0.22, 2: 0.24, 3: 0.32}
"""Distance of a place from the centre, by the number of things."""
_JITTER_ALONG = {1: 0.03, 2: 0.02, 3: 0.01}
_JITTER_ACROSS = {1: 0.03, 2: 0.05, 3: 0.03}
_COLOUR_NAMES = tuple(COLOURS)
_BACKGROUND_NAMES = tuple(BACKGROUNDS)
_SIZE_NAMES = tuple(SIZES)


@dataclass(frozen=True, slots=True)
class Thing:
    """One drawn object; `place` is one of `PLACES`."""

    colour: str
    shape: str
    size: str
    place: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Things on a background. `seed` moves the things a little and changes nothing that words speak of."""

    things: tuple[Thing, ...]
    background: str
    seed: int

    @property
    def count(self) -> int:
        return len(self.things)

    @property
    def axis(self) -> Literal["row", "column"] | None:
        """How several things stand: side by side or one above the other; None for a lone thing."""
        if self.count == 1:
            return None
        return "row" if any(thing.place in ("left", "right") for thing in self.things) else "column"

    @property
    def description(self) -> str:
        """Every attribute in one canonical line, without the jitter: equal lines, equal truth."""
        ordered = sorted(self.things, key=lambda thing: _STEP[thing.place])
        words = [f"{t.size} {t.colour} {t.shape} {t.place}" for t in ordered]
        return "; ".join([*words, self.background])

    def relation(self, first: int, second: int) -> str:
        """How thing `first` stands to thing `second`: "left of", "right of", "above" or "below"."""
        x, y = (b - a for a, b in zip(_STEP[self.things[first].place], _STEP[self.things[second].place], strict=True))
        if x:
            return "left of" if x > 0 else "right of"
        if y:
            return "above" if y > 0 else "below"
        raise ValueError("two things stand in the same place")

    def centres(self) -> list[tuple[float, float]]:
        """Centre (x, y) of every thing in [0, 1], y downwards, jitter included."""
        rng = np.random.default_rng(self.seed)
        spread, along, across = (table[self.count] for table in (_SPREAD, _JITTER_ALONG, _JITTER_ACROSS))
        reach = (across, along) if self.axis == "column" else (along, across)
        jitter = rng.uniform(-1.0, 1.0, size=(self.count, 2)) * reach
        return [
            (
                0.5 + spread * _STEP[thing.place][0] + float(dx),
                0.5 + spread * _STEP[thing.place][1] + float(dy),
            )
            for thing, (dx, dy) in zip(self.things, jitter, strict=True)
        ]

    def has_held_out(self) -> bool:
        """Whether a thing shows a held-out (colour, shape) combination."""
        return any((thing.colour, thing.shape) in HELD_OUT for thing in self.things)


def in_test_bucket(text: str) -> bool:
    """Whether a text (a scene's description) falls into the tenth that is kept for tests."""
    digest = hashlib.blake2b(text.encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") < TEST_SHARE * 2**32


def split_of(scene: Scene) -> Split:
    """The only split that may hold this scene."""
    if scene.has_held_out():
        return "held_out"
    return "test" if in_test_bucket(scene.description) else "train"


def sample_scene(rng: np.random.Generator, split: Split = "train") -> Scene:
    """Draw a scene of the split; the same generator state gives the same scene."""
    count = int(np.searchsorted(np.cumsum(list(COUNT_SHARES.values())), rng.random(), side="right")) + 1
    while True:
        scene = _any_scene(rng, count)
        if split_of(scene) == split:
            return scene


def _any_scene(rng: np.random.Generator, count: int) -> Scene:
    colours = rng.permutation(len(COLOURS))[:count]
    shapes = rng.integers(len(SHAPES), size=count)
    sizes = rng.integers(2, size=count) if count < 3 else (0, 0, 0)
    standing, background, seed = (int(value) for value in rng.integers((10, len(BACKGROUNDS), 2**31)))
    if count == 1:
        places: tuple[str, ...] = (PLACES[standing % 5],)
    else:
        line = ROW if standing % 2 else COLUMN
        places = line if count == 3 else (line[0], line[2])
    things = tuple(
        Thing(_COLOUR_NAMES[colour], SHAPES[shape], _SIZE_NAMES[size], place)
        for colour, shape, size, place in zip(colours, shapes, sizes, places, strict=True)
    )
    return Scene(things, _BACKGROUND_NAMES[background], seed)
