"""Questions about a scene, with the one right answer and the choices it is among.

Belongs here: every question whose answer follows from a scene, and the requests for a description. Does not belong
here: conversations (synthvlm_miniature.making.instructions), the held-out questions (held_out.py).
"""

from dataclasses import dataclass

import numpy as np

from synthvlm_miniature.world.choice import pick_other
from synthvlm_miniature.world.scenes import BACKGROUNDS, COLOURS, OPPOSITE, PLACES, SHAPES, SIZES, Scene

COUNT_WORDS = {1: "one", 2: "two", 3: "three"}
DIRECTIONS = ("left", "right", "above", "below")
DESCRIPTION_REQUESTS = ("Describe the picture.", "What does the picture show?", "Describe the picture in one sentence.")
"""What a caption answers, in the instructions and in the language model's texts alike."""


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a scene. `answer` is one of `choices`; `kind` is colour, shape, count and so on."""

    kind: str
    question: str
    answer: str
    choices: tuple[str, ...]


def questions(scene: Scene, rng: np.random.Generator) -> list[Question]:
    """Questions with exactly one right answer each, in random order; always one yes and one no among them."""
    colours, shapes = tuple(COLOURS), tuple(SHAPES)
    at = int(rng.integers(scene.count))
    thing = scene.things[at]
    alone = sum(other.shape == thing.shape for other in scene.things) == 1
    counts = tuple(COUNT_WORDS.values())
    asked = [
        Question("count", "how many shapes are there?", COUNT_WORDS[scene.count], counts),
        Question("background", "what colour is the background?", scene.background, tuple(BACKGROUNDS)),
        Question("shape", f"what shape is the {thing.colour} one?", thing.shape, shapes),
    ]
    if scene.count == 1:
        question = f"where in the picture is the {thing.shape}?"
        asked.append(Question("place", question, thing.place, PLACES))
        asked.append(Question("shape", "what shape is this?", thing.shape, shapes))
        asked.append(Question("colour", "what colour is the shape?", thing.colour, colours))
    else:
        there = _corner(scene, at)
        asked.append(Question("colour", f"what colour is the shape {there}?", thing.colour, colours))
        asked.append(Question("shape", f"which shape is {there}?", thing.shape, shapes))
    one = f"{thing.colour} {thing.shape}"
    if alone:
        asked.append(Question("colour", f"what colour is the {thing.shape}?", thing.colour, colours))
    asked.append(Question("size", f"is the {one} small or large?", thing.size, tuple(SIZES)))
    if scene.count > 1:
        other = (at + 1) % scene.count
        seen = scene.things[other]
        question = f"is the {one} left, right, above or below the {seen.colour} {seen.shape}?"
        asked.append(Question("relation", question, scene.relation(at, other).removesuffix(" of"), DIRECTIONS))
    asked.extend(_yes_no(scene, rng, answer) for answer in ("yes", "no"))
    return [asked[i] for i in rng.permutation(len(asked))]


def _corner(scene: Scene, index: int) -> str:
    """Where one of several things stands, as the end of a question."""
    place = scene.things[index].place
    return {
        "left": "on the left",
        "right": "on the right",
        "top": "at the top",
        "bottom": "at the bottom",
        "centre": "in the middle",
    }[place]


def _yes_no(scene: Scene, rng: np.random.Generator, answer: str) -> Question:
    """A question whose answer is the given one: the same forms for both answers."""
    form, at = rng.random(), int(rng.integers(scene.count))
    thing = scene.things[at]
    wrong = answer == "no"
    if form < 0.3:
        used = {other.colour for other in scene.things}
        colour = pick_other(rng, COLOURS, used) if wrong else thing.colour
        text = f"is there a {colour} {thing.shape}?"
    elif form < 0.55:
        shape = pick_other(rng, SHAPES, {thing.shape}) if wrong else thing.shape
        text = f"is there a {thing.colour} {shape}?"
    elif form < 0.7:
        ground = pick_other(rng, BACKGROUNDS, {scene.background}) if wrong else scene.background
        text = f"is the background {ground}?"
    elif scene.count > 1:
        other = (at + 1) % scene.count
        seen, relation = scene.things[other], scene.relation(at, other)
        relation = OPPOSITE[relation] if wrong else relation
        text = f"is the {thing.colour} {thing.shape} {relation} the {seen.colour} {seen.shape}?"
    else:
        size = pick_other(rng, SIZES, {thing.size}) if wrong else thing.size
        text = f"is the {thing.shape} {size}?"
    return Question("yes_no", text, answer, ("yes", "no"))
