"""Agreement: whether what was read from a picture is true of a scene, attribute by attribute.

Belongs here: the comparison of a `Reading` with a scene. Does not belong here: reading (inverse.py), shares and
intervals over many pictures (synthvlm_miniature.quality).
"""

from synthvlm_miniature.world.inverse import Reading, ReadThing
from synthvlm_miniature.world.scenes import OPPOSITE, Scene

CENTRE_REACH = 0.115
"""A lone thing nearer to the middle than this on both axes is in the centre (left etc. are 0.22 away)."""


def agreement(scene: Scene, reading: Reading) -> dict[str, bool | None]:
    """Compare a reading with a scene's truth; None where the scene has no such attribute.

    Strict: an attribute of a thing whose colour was not found counts as wrong.

    - `colour`: every colour of the scene was found (extra things show in `count`).
    - `shape`, `size`: every thing, found by its colour, has them.
    - `place`: of a lone thing. `relation`: axis and direction between all neighbours; `axis`: the axis alone.
    - `count`: as many things as the scene has. `background`: the same.
    """
    found = [reading.find(thing.colour) for thing in scene.things]
    pairs = list(zip(scene.things, found, strict=True))
    first = found[0]
    steps = range(scene.count - 1)
    read_steps = [_read_relation(found[i], found[i + 1]) for i in steps]
    true_steps = [scene.relation(i, i + 1) for i in steps]
    return {
        "colour": all(seen is not None for seen in found),
        "shape": all(seen is not None and seen.shape == thing.shape for thing, seen in pairs),
        "size": all(seen is not None and seen.size == thing.size for thing, seen in pairs),
        "place": (first is not None and read_place(first) == scene.things[0].place) if scene.count == 1 else None,
        "relation": read_steps == true_steps if scene.count > 1 else None,
        "axis": (
            all(seen in (true, OPPOSITE[true]) for seen, true in zip(read_steps, true_steps, strict=True))
            if scene.count > 1
            else None
        ),
        "count": len(reading.things) == scene.count,
        "background": reading.background == scene.background,
    }


def read_place(thing: ReadThing) -> str:
    """The place a lone thing takes: centre, or the side it is moved to most."""
    x, y = thing.centre[0] - 0.5, thing.centre[1] - 0.5
    if max(abs(x), abs(y)) < CENTRE_REACH:
        return "centre"
    if abs(x) >= abs(y):
        return "left" if x < 0 else "right"
    return "top" if y < 0 else "bottom"


def _read_relation(first: ReadThing | None, second: ReadThing | None) -> str | None:
    if first is None or second is None:
        return None
    x, y = (b - a for a, b in zip(first.centre, second.centre, strict=True))
    if abs(x) >= abs(y):
        return "left of" if x > 0 else "right of"
    return "above" if y > 0 else "below"
