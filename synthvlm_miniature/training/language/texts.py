"""The texts that the language model learns: captions, questions about a caption, and the judge's prompt.

Belongs here: what is in a text and which parts of it are learnt. Does not belong here: tokens and batches (data.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synthvlm_miniature.making.rows import shuffled, texts_by_truth
from synthvlm_miniature.training.byte_bpe import EOS
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.world.captions import caption, random_style
from synthvlm_miniature.world.questions import DESCRIPTION_REQUESTS, questions
from synthvlm_miniature.world.scenes import Scene, sample_scene
from synthvlm_miniature.world.vague import vague_caption

JUDGE_PROMPT = "USER: Does this caption picture a scene that can be drawn? {caption} ASSISTANT:"
"""What the judge was trained on: a recipe has to use these words."""

_DIRT_SEED = 31_337
"""Not the shipped files' seed."""
_NOT_DRAWABLE = ("symbols", "markup", "repetition", "empty", "long", "shuffled")


@dataclass(frozen=True, slots=True)
class Text:
    """Parts in order, each with whether the model learns to say it."""

    parts: tuple[tuple[str, bool], ...]


def texts(settings: Settings) -> Iterator[Text]:
    """Endless training texts; the n-th depends on the seed and n alone."""
    dirty = texts_by_truth(_NOT_DRAWABLE, _DIRT_SEED, settings.dirt_rows)
    captions = settings.caption_share
    vague = captions + settings.vague_share
    judged = vague + settings.judge_share
    number = 0
    while True:
        rng = np.random.default_rng([settings.seed, 32, number])
        share = rng.random()
        if share < captions:
            made = Text(((_caption(rng), True), (EOS, True)))
        elif share < vague:
            made = Text(((vague_caption(rng), True), (EOS, True)))
        elif share < judged:
            shown, drawable = _for_the_judge(rng, dirty)
            answer = " Yes" if drawable else " No"
            made = Text(((JUDGE_PROMPT.format(caption=shown), False), (answer, True), (EOS, True)))
        else:
            made = _conversation(_several(rng), rng)
        yield made
        number += 1


def _caption(rng: np.random.Generator) -> str:
    style = random_style(rng)
    return caption(sample_scene(rng), rng, style, "full" if rng.random() < 0.2 else "varied")


def _for_the_judge(rng: np.random.Generator, dirty: dict[str, list[str]]) -> tuple[str, bool]:
    share = rng.random()
    if share < 0.5:
        return _caption(rng), True
    if share < 0.7:
        return vague_caption(rng), False
    if share < 0.9:
        return shuffled(_caption(rng), rng), False
    kind = _NOT_DRAWABLE[int(rng.integers(len(_NOT_DRAWABLE)))]
    text = dirty[kind][int(rng.integers(len(dirty[kind])))]
    return text[: int(rng.integers(300, 1200))], False


def _several(rng: np.random.Generator) -> Scene:
    """A scene, more often of several things than the world's: what compares things is what has to be learned."""
    scene = sample_scene(rng)
    return sample_scene(rng) if scene.count == 1 and rng.random() < 0.5 else scene


def _conversation(scene: Scene, rng: np.random.Generator) -> Text:
    """Questions about a caption that says everything; it stands where a VLM has the picture."""
    style = random_style(rng)
    context = caption(scene, rng, style, "full")
    if rng.random() < 0.25:
        asked = [(DESCRIPTION_REQUESTS[int(rng.integers(len(DESCRIPTION_REQUESTS)))], caption(scene, rng))]
    else:
        chosen = questions(scene, rng)
        if rng.random() < 0.5:  # the kinds that compare come first, as a short conversation would miss them
            chosen.sort(key=lambda question: question.kind not in ("relation", "yes_no"))
        chosen = chosen[: 1 + int(rng.integers(6))]
        asked = [(question.question, question.answer) for question in chosen]
    parts: list[tuple[str, bool]] = []
    for turn, (question, answer) in enumerate(asked):
        start = f"USER: {context}\n" if turn == 0 else "USER: "
        parts += [(f"{start}{question} ASSISTANT:", False), (f" {answer}", True), (EOS, True)]
    return Text(tuple(parts))
