"""What is held out: scenes, questions and texts that nothing is trained on.

Belongs here: fixed, seeded lists for measuring models of this world. Does not belong here: the files of the benchmark
(synthvlm_miniature.making.benchmark), running a model, scoring its answers.

Disjoint by construction: scenes come from the splits `test` (seen combinations, unseen descriptions) and
`held_out` (unseen combinations) of `world`; texts describe such scenes in full, so that no training scene
fits them, or are vague captions of the test bucket. The first n of a longer list are the shorter list.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Literal, TypeAlias

import numpy as np

from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.questions import Question, questions
from synthvlm_miniature.world.scenes import Scene, sample_scene
from synthvlm_miniature.world.vague import vague_caption

HeldOutSplit: TypeAlias = Literal["test", "held_out"]
SEED = 77_000_001
_STREAMS = {"test": 0, "held_out": 1, "captions": 2}


@dataclass(frozen=True, slots=True)
class HeldOutCaption:
    """A text for language models: it pictures `scene`, or nothing drawable where `scene` is None."""

    text: str
    scene: Scene | None

    @property
    def drawable(self) -> bool:
        return self.scene is not None


def held_out_scenes(n: int, split: HeldOutSplit = "test") -> list[Scene]:
    """The first `n` benchmark scenes of the split, with different descriptions."""
    return list(islice(_scenes(split), n))


def held_out_questions(n: int, split: HeldOutSplit = "test") -> list[tuple[Scene, Question]]:
    """The first `n` questions, scene after scene, all questions of a scene in a row."""
    return list(islice(_questions(split), n))


def held_out_captions(n: int) -> list[HeldOutCaption]:
    """The first `n` texts, all different: drawable ones in every style and vague ones in turn.

    There are about 2,500 vague texts in the test bucket; ask for 3,000 texts at most.
    """
    if n > 3000:
        raise ValueError("the benchmark has no more than 3,000 different texts")
    return list(islice(_captions(), n))


def _scenes(split: HeldOutSplit) -> Iterator[Scene]:
    rng = np.random.default_rng([SEED, _STREAMS[split]])
    seen: set[str] = set()
    while True:
        scene = sample_scene(rng, split)
        if scene.description not in seen:
            seen.add(scene.description)
            yield scene


def _questions(split: HeldOutSplit) -> Iterator[tuple[Scene, Question]]:
    for number, scene in enumerate(_scenes(split)):
        rng = np.random.default_rng([SEED, _STREAMS[split], number])
        for question in questions(scene, rng):
            yield scene, question


def _captions() -> Iterator[HeldOutCaption]:
    rng = np.random.default_rng([SEED, _STREAMS["captions"]])
    scenes = _scenes("test")
    seen: set[str] = set()
    number = 0
    while True:
        if number % 2:
            made = HeldOutCaption(vague_caption(rng, "test"), None)
        else:
            scene = next(scenes)
            made = HeldOutCaption(caption(scene, rng, STYLES[number // 2 % len(STYLES)], "full"), scene)
        if made.text not in seen:
            seen.add(made.text)
            number += 1
            yield made
