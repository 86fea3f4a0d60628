"""The truth that CLIP's auxiliary heads are asked for.

Belongs here: a scene as class numbers, by colour and by patch. Does not belong here: the heads (heads.py).
"""

import numpy as np
from numpy.typing import NDArray

from synthvlm_miniature.training.clip.model import PATCH
from synthvlm_miniature.training.optimization import IGNORED
from synthvlm_miniature.training.pixels import RESOLUTION
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene

_COLOURS, _BACKGROUNDS, _SIZES = tuple(COLOURS), tuple(BACKGROUNDS), tuple(SIZES)


def slots_of(scene: Scene) -> NDArray[np.int64]:
    """The scene's truth by colour, as every colour occurs at most once: shape (0 for none), size, place; background."""
    target = np.full((len(_COLOURS), 3), IGNORED, dtype=np.int64)
    target[:, 0] = 0
    for thing in scene.things:
        target[_COLOURS.index(thing.colour)] = (
            1 + SHAPES.index(thing.shape),
            _SIZES.index(thing.size),
            PLACES.index(thing.place),
        )
    return np.append(target.ravel(), _BACKGROUNDS.index(scene.background))


def patches_of(scene: Scene) -> NDArray[np.int64]:
    """What every patch shows: a thing where its centre is in the thing's box, nothing clearly outside all boxes."""
    side = RESOLUTION // PATCH
    middle = (np.arange(side) + 0.5) / side
    target = np.full((4, side, side), IGNORED, dtype=np.int64)
    target[0] = 0
    target[3] = _BACKGROUNDS.index(scene.background)
    for thing, (x, y) in zip(scene.things, scene.centres(), strict=True):
        half = SIZES[thing.size] / 2
        far = np.maximum(np.abs(middle[None, :] - x), np.abs(middle[:, None] - y))
        target[0][far <= half + 0.5 / side] = IGNORED
        inside = far <= half
        target[0][inside] = 1 + _COLOURS.index(thing.colour)
        target[1][inside] = SHAPES.index(thing.shape)
        target[2][inside] = _SIZES.index(thing.size)
    return target.reshape(4, -1)
