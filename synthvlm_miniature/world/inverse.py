"""The render inverse: from pixels back to things, by palette and template matching, without a model.

Belongs here: reading a picture. Does not belong here: comparing what was read with a scene (agreement.py), anything
learned, anything about words.

A picture is brought to 64 x 64; each pixel takes the nearest palette colour; connected regions of one colour
that are large and thick enough are things. A region's box, scaled to 24 x 24, is matched with the drawn
shapes. The thickness rule drops the thin wrong-coloured halos that blurry generated pictures have around
their things.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from synthvlm_miniature.world.drawing import draw_template
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, SHAPES

Bytes: TypeAlias = NDArray[np.uint8]

SIDE = 64
TEMPLATE_SIDE = 24
LEAST_AREA = 45
"""Pixels of 4,096; the smallest drawn thing has about 140."""
LEAST_CORE = 8
"""Pixels whose 3 x 3 neighbourhood is at least 7 / 9 of their colour; a halo has next to none."""
LEAST_OVERLAP = 0.62
"""Intersection over union with the best template below which a region has no shape."""
SIZE_BORDER = 0.335
"""Between small (0.26) and large (0.42), as a share of the side."""
_FARTHEST_COLOUR = 100.0
_LEAST_BACKGROUND = 0.2
_NOTHING = 255

_COLOUR_NAMES = tuple(COLOURS)
_BACKGROUND_NAMES = tuple(BACKGROUNDS)


@dataclass(frozen=True, slots=True)
class ReadThing:
    """One region that was read. Centre (x, y) and extent are shares of the side; `shape` None: no match."""

    colour: str
    shape: str | None
    size: str
    centre: tuple[float, float]
    extent: float
    overlap: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What a picture shows: things from the largest region to the smallest; `background` None: unclear."""

    things: tuple[ReadThing, ...]
    background: str | None

    def find(self, colour: str) -> ReadThing | None:
        """The largest thing of the colour."""
        return next((thing for thing in self.things if thing.colour == colour), None)


def read(image: Image.Image | Bytes) -> Reading:
    """Read an RGB picture (PIL, or uint8 of shape (height, width, 3)) of any size."""
    pixels = _pixels(image)
    quantised = (pixels >> 2).astype(np.int32)
    classes = _palette_table()[(quantised[..., 0] << 12) | (quantised[..., 1] << 6) | quantised[..., 2]]
    things = sorted(_regions(classes), key=lambda pair: -pair[0])
    counts = np.bincount(classes.ravel(), minlength=256)[len(_COLOUR_NAMES) :][: len(_BACKGROUND_NAMES)]
    best = int(counts.argmax())
    background = _BACKGROUND_NAMES[best] if counts[best] >= _LEAST_BACKGROUND * SIDE * SIDE else None
    return Reading(tuple(thing for _, thing in things), background)


def _pixels(image: Image.Image | Bytes) -> Bytes:
    if isinstance(image, np.ndarray):
        if image.shape == (SIDE, SIDE, 3) and image.dtype == np.uint8:
            return image
        image = Image.fromarray(image)
    image = image.convert("RGB")
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(image)


@cache
def _palette_table() -> Bytes:
    """Nearest entry for each colour of 6 bits a channel: colours first, then backgrounds, 255 for none."""
    palette = np.array([*COLOURS.values(), *BACKGROUNDS.values()], dtype=np.float32)
    levels = np.arange(64, dtype=np.float32) * 4 + 2
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    distances = np.stack([np.linalg.norm(cube - entry, axis=1) for entry in palette], axis=1)
    nearest: Bytes = distances.argmin(axis=1).astype(np.uint8)
    nearest[distances.min(axis=1) > _FARTHEST_COLOUR] = _NOTHING
    return nearest


@cache
def _templates() -> NDArray[np.float32]:
    """Drawn shapes as shares of coverage in [0, 1]: (shapes, TEMPLATE_SIDE ** 2)."""
    drawn = [np.asarray(draw_template(shape, TEMPLATE_SIDE), dtype=np.float32) / 255 for shape in SHAPES]
    return np.stack(drawn).reshape(len(SHAPES), -1).astype(np.float32)


def _regions(classes: Bytes) -> list[tuple[int, ReadThing]]:
    """Connected regions of one colour with their area; regions too small or too thin are left out."""
    coloured = classes < len(_COLOUR_NAMES)
    if not coloured.any():
        return []
    core = np.zeros_like(coloured)
    middle = classes[1:-1, 1:-1]
    same = np.zeros(middle.shape, dtype=np.uint8)
    for dy in (0, 1, 2):
        for dx in (0, 1, 2):
            same += classes[dy : dy + SIDE - 2, dx : dx + SIDE - 2] == middle
    core[1:-1, 1:-1] = (same >= 7) & coloured[1:-1, 1:-1]
    things = []
    for label, rows in _label(classes, coloured):
        area = int((rows[:, 2] - rows[:, 1]).sum())
        if area < LEAST_AREA:
            continue
        top, bottom = int(rows[:, 0].min()), int(rows[:, 0].max()) + 1
        left, right = int(rows[:, 1].min()), int(rows[:, 2].max())
        mask = np.zeros((bottom - top, right - left), dtype=np.uint8)
        for row, start, stop in rows.tolist():
            mask[row - top, start - left : stop - left] = 255
        if int((core[top:bottom, left:right] & (mask > 0)).sum()) < LEAST_CORE:
            continue
        things.append((area, _describe(label, mask, (left, top, right, bottom))))
    return things


def _describe(label: int, mask: Bytes, box: tuple[int, int, int, int]) -> ReadThing:
    left, top, right, bottom = box
    scaled = Image.fromarray(mask).resize((TEMPLATE_SIDE, TEMPLATE_SIDE), Image.Resampling.BILINEAR)
    seen = np.asarray(scaled, dtype=np.float32).reshape(1, -1) / 255
    templates = _templates()
    overlaps = np.minimum(seen, templates).sum(axis=1) / np.maximum(seen, templates).sum(axis=1)
    best = int(overlaps.argmax())
    extent = (right - left + bottom - top) / 2 / SIDE
    return ReadThing(
        colour=_COLOUR_NAMES[label],
        shape=SHAPES[best] if overlaps[best] >= LEAST_OVERLAP else None,
        size="large" if extent > SIZE_BORDER else "small",
        centre=((left + right) / 2 / SIDE, (top + bottom) / 2 / SIDE),
        extent=extent,
        overlap=float(overlaps[best]),
    )


def _label(classes: Bytes, coloured: NDArray[np.bool_]) -> list[tuple[int, NDArray[Any]]]:
    """4-connected regions of equal class, by union of row runs: (class, runs of (row, start, stop))."""
    padded = np.where(coloured, classes, _NOTHING)
    padded = np.pad(padded, ((0, 0), (1, 1)), constant_values=_NOTHING)
    rows, columns = np.nonzero(padded[:, 1:] != padded[:, :-1])
    kinds = padded[rows, columns + 1]
    starts = np.nonzero(kinds != _NOTHING)[0]
    runs = np.stack([rows[starts], columns[starts], columns[starts + 1], kinds[starts].astype(np.int64)], axis=1)
    listed = runs.tolist()
    parent = list(range(len(listed)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    above: list[int] = []
    current: list[int] = []
    current_row = -1
    for i, (row, start, stop, kind) in enumerate(listed):
        if row != current_row:
            above = current if row == current_row + 1 else []
            current, current_row = [], row
        for j in above:
            other = listed[j]
            if other[3] == kind and other[1] < stop and start < other[2]:
                parent[root(i)] = root(j)
        current.append(i)
    roots = np.array([root(i) for i in range(len(listed))])
    return [(int(runs[label, 3]), runs[roots == label, :3]) for label in np.unique(roots)]
