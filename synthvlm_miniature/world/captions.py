"""Captions: what is true of a scene, said in one of five manners.

Belongs here: the manners `plain` and those of the four sources. Does not belong here: the noun phrase in their middle
(phrases.py), captions that picture nothing (vague.py), the accidental dirt of files (synthvlm_miniature.making.dirt).

Whatever a caption says of its scene is true. Every caption names each thing's colour and shape; size, place,
relation and background are sometimes left out, unless `detail="full"`. Sizes, some backgrounds, relations and openings
have several words, and the second thing of a caption takes another size word than the first, as people do. Each choice
takes one number from the generator and none depends on the value of an attribute: the same generator state words two
scenes of equal layout alike.
"""

from typing import Literal, TypeAlias, get_args

import numpy as np

from synthvlm_miniature.world import words
from synthvlm_miniature.world.choice import pick
from synthvlm_miniature.world.phrases import Pieces, noun_phrase, opened
from synthvlm_miniature.world.scenes import Scene

Style: TypeAlias = Literal["plain", "laion", "cc", "sbu", "datacomp"]
Detail: TypeAlias = Literal["varied", "full"]
STYLES: tuple[Style, ...] = get_args(Style)

_LEAST_LENGTH = 22


def caption(scene: Scene, rng: np.random.Generator, style: Style = "plain", detail: Detail = "varied") -> str:
    """Describe the scene in one line of at most about 32 words.

    `detail="full"` says every attribute, the relation or place and the background, so that captions of two
    scenes with different descriptions differ.
    """
    full = detail == "full"
    match style:
        case "plain":
            return _plain(scene, rng, full)
        case "laion":
            return _laion(scene, rng, full)
        case "cc":
            return _cc(scene, rng, full)
        case "sbu":
            return _sbu(scene, rng, full)
        case "datacomp":
            return _datacomp(scene, rng, full)


def random_style(rng: np.random.Generator) -> Style:
    """One of the styles, each as likely as the others."""
    return STYLES[int(rng.integers(len(STYLES)))]


def _plain(scene: Scene, rng: np.random.Generator, full: bool) -> str:
    pieces = Pieces(scene, rng, full)
    says_where = rng.random() < (0.55 if scene.count == 1 else 0.85) or full
    phrase = noun_phrase(pieces, rng, says_where)
    opening, first_ground, last_ground = (
        pick(rng, words.OPENINGS),
        pick(rng, words.FIRST_GROUNDS),
        pick(rng, words.GROUNDS),
    )
    told = opened(opening, phrase)
    where_ground, sentence, tail = rng.random(), rng.random(), rng.random()
    if where_ground < 0.2:
        text = first_ground.format(pieces.ground) + told
    elif where_ground < 0.86 or full:
        text = told + (", " if scene.count == 3 or tail < 0.15 else " ") + last_ground.format(pieces.ground)
    else:
        text = told
    if len(text) < _LEAST_LENGTH:
        text = "a picture of " + text
    return text[0].upper() + text[1:] + "." if sentence < 0.35 else text


def _laion(scene: Scene, rng: np.random.Generator, full: bool) -> str:
    pieces = Pieces(scene, rng, full, sized=0.6)
    phrase = noun_phrase(pieces, rng, rng.random() < 0.6 or full)
    if rng.random() < 0.6 or full:
        phrase += f" on {pieces.ground} background"
    name, case = rng.random(), rng.random()
    number = int(rng.integers(100, 99999))
    width = pick(rng, (640, 800, 1024, 1200, 1920))
    clutter = pick(rng, words.CLUTTER).format(
        number=number, width=width, height=width * 3 // 4, file=_file_name(pieces)
    )
    text = phrase.title() if case < 0.5 else phrase[0].upper() + phrase[1:] if case < 0.8 else phrase
    lead = pick(rng, words.LEADS) if name < 0.5 else ""
    return lead + text + clutter


def _cc(scene: Scene, rng: np.random.Generator, full: bool) -> str:
    pieces = Pieces(scene, rng, full, sized=0.6)
    phrase = noun_phrase(pieces, rng, rng.random() < 0.7 or full)
    frame = pick(rng, words.NEAT)
    ground = pick(rng, (" isolated on a {} background", " on a {} background", " against a {} background"))
    tail = ground.format(pieces.ground) if rng.random() < 0.8 or full else ""
    return frame.format(phrase + tail).replace(",", " ,").replace(":", " :")


def _sbu(scene: Scene, rng: np.random.Generator, full: bool) -> str:
    pieces = Pieces(scene, rng, full)
    phrase = noun_phrase(pieces, rng, rng.random() < 0.7 or full)
    tail = f" on {pieces.ground} paper" if rng.random() < 0.7 or full else ""
    text = pick(rng, words.CHATTY).format(it=phrase + tail, who=pick(rng, words.PEOPLE), time=pick(rng, words.TIMES))
    return text[0].upper() + text[1:]


def _datacomp(scene: Scene, rng: np.random.Generator, full: bool) -> str:
    pieces = Pieces(scene, rng, full, sized=0.7)
    phrase = noun_phrase(pieces, rng, rng.random() < 0.6 or full)
    opening = pick(rng, ("", "", "", "a picture of ", "an image of ", "there is "))
    tail = f" on a {pieces.ground} background" if rng.random() < 0.85 or full else ""
    text = opened(opening, phrase) + tail
    return text if len(text) >= _LEAST_LENGTH else "an image of " + text


def _file_name(pieces: Pieces) -> str:
    return "-".join("-".join(noun.split()[-2:]) for noun in pieces.nouns)
