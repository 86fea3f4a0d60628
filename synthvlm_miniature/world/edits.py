"""Edits: a scene with one attribute changed, and the pair of captions that tells the two apart.

Belongs here: which attributes can be changed and how. Does not belong here: judging a model by such pairs
(synthvlm_miniature.quality).
"""

from dataclasses import replace

import numpy as np

from synthvlm_miniature.world.captions import caption
from synthvlm_miniature.world.choice import pick_other
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, PLACES, SHAPES, SIZES, Scene, Thing


def edited_captions(scene: Scene, rng: np.random.Generator) -> dict[str, tuple[str, str]]:
    """Pairs (right caption, the same wording with one wrong attribute) by kind of edit.

    Kinds: `colour`, `shape`, `size`, `background`; for two things also `direction` (the relation turned
    round) and `binding` (the two colours, if shapes differ, exchanged); for a lone thing `place`.
    All pairs of one call share the right caption.
    """
    state = int(rng.integers(2**31))
    edits = {
        kind: changed
        for kind in ("colour", "shape", "size", "background", "direction", "binding", "place")
        if (changed := edited_scene(scene, kind, rng)) is not None
    }
    right = caption(scene, np.random.default_rng(state), detail="full")
    return {
        kind: (right, caption(changed, np.random.default_rng(state), detail="full")) for kind, changed in edits.items()
    }


def edited_scene(scene: Scene, kind: str, rng: np.random.Generator) -> Scene | None:
    """The scene with one attribute changed (see `edited_captions`); None where it has no such attribute."""
    at = int(rng.integers(scene.count))
    thing = scene.things[at]

    def with_thing(changed: Thing) -> Scene:
        return replace(scene, things=(*scene.things[:at], changed, *scene.things[at + 1 :]))

    match kind:
        case "colour":
            used = {other.colour for other in scene.things}
            return with_thing(replace(thing, colour=pick_other(rng, COLOURS, used)))
        case "shape":
            return with_thing(replace(thing, shape=pick_other(rng, SHAPES, {thing.shape})))
        case "size" if scene.count < 3:
            return with_thing(replace(thing, size=pick_other(rng, SIZES, {thing.size})))
        case "background":
            return replace(scene, background=pick_other(rng, BACKGROUNDS, {scene.background}))
        case "direction" if scene.count == 2:
            one, two = scene.things
            return replace(scene, things=(replace(one, place=two.place), replace(two, place=one.place)))
        case "binding" if scene.count == 2 and scene.things[0].shape != scene.things[1].shape:
            one, two = scene.things
            return replace(scene, things=(replace(one, colour=two.colour), replace(two, colour=one.colour)))
        case "place" if scene.count == 1:
            return with_thing(replace(thing, place=pick_other(rng, PLACES, {thing.place})))
    return None
