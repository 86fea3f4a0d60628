"""The noun phrase that a caption is built round: which things, in which words, and how they stand.

Belongs here: the pieces that all manners of captions share. Does not belong here: the manners themselves (captions.py),
the lists of words (words.py).
"""

import numpy as np

from synthvlm_miniature.world import words
from synthvlm_miniature.world.choice import at_share, pick
from synthvlm_miniature.world.scenes import Scene


class Pieces:
    """The pieces of one caption, chosen once: mention order, size words, background word, optional parts."""

    def __init__(self, scene: Scene, rng: np.random.Generator, full: bool, sized: float = 0.75) -> None:
        order = list(range(scene.count))
        if rng.random() < 0.5:
            order.reverse()
        self.scene, self.order = scene, order
        shift = int(rng.random() * 3)
        says_size = [rng.random() < sized or full for _ in order]
        self.ground = pick(rng, words.BACKGROUND_WORDS[scene.background])
        self.nouns = []
        for position, (index, says) in enumerate(zip(order, says_size, strict=True)):
            thing = scene.things[index]
            size = words.SIZE_WORDS[thing.size][(shift + position) % 3] + " " if says else ""
            self.nouns.append(f"{size}{thing.colour} {thing.shape}")

    @property
    def listed(self) -> str:
        """The things with articles: "a, b and c"."""
        named = [f"a {noun}" for noun in self.nouns]
        return named[0] if len(named) == 1 else ", ".join(named[:-1]) + " and " + named[-1]

    def relation(self) -> str:
        """How the thing mentioned first stands to the second."""
        return self.scene.relation(self.order[0], self.order[1])

    def place(self, position: int) -> str:
        """Where the thing mentioned at a position stands."""
        return self.scene.things[self.order[position]].place


def noun_phrase(pieces: Pieces, rng: np.random.Generator, says_where: bool) -> str:
    """The things and, if wished, where they are, as one noun phrase that fits behind an opening."""
    form, variant = rng.random(), rng.random()
    scene = pieces.scene
    if scene.count == 1:
        where = at_share(words.LONE_PLACES[pieces.place(0)], variant)
        return f"{pieces.listed} {where}" if says_where else pieces.listed
    if scene.count == 3:
        forward = pieces.order[0] == 0
        if scene.axis == "row":
            where = "from left to right" if forward else "from right to left"
            line = "row"
        else:
            where = "from top to bottom" if forward else "from bottom to top"
            line = "column"
        if not says_where:
            return pieces.listed if form < 0.5 else f"{pieces.listed} in a {line}"
        return f"{pieces.listed} {where}" if form < 0.6 else f"three shapes {where}: {pieces.listed}"
    first, second = pieces.nouns
    if not says_where:
        beside = "next to" if scene.axis == "row" else "in line with"
        return [
            f"a {first} and a {second}",
            f"two shapes, a {first} and a {second}",
            f"a {first} {beside} a {second}",
        ][int(variant * 3)]
    if form < 0.6:
        return f"a {first} {at_share(words.RELATIONS[pieces.relation()], variant)} a {second}"
    here, there = words.PAIR_PLACES[pieces.place(0)][0], at_share(words.PAIR_PLACES[pieces.place(1)], variant)
    if form < 0.85:
        return f"a {first} {here} and a {second} {there}"
    return f"two shapes, a {first} {here}, a {second} {there}"


def opened(opening: str, phrase: str) -> str:
    """Opening and phrase, the verb in agreement with "two shapes" and "three shapes"."""
    if opening == "there is " and phrase.startswith(("two", "three")):
        opening = "there are "
    return opening + phrase
