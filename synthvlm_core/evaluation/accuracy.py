"""What answers are worth: accuracies against chance and against the blind, and the difference of two checkpoints.

Belongs here: numbers of graded answers. Does not belong here: grading (grading.py), intervals (intervals.py), storing
(evaluated.py).

    accuracy    mean worth of the graded answers, with its Wilson interval
    chance      mean of 1 / number of choices: somebody who knows the choices and guesses
    majority    share that each kind's best single answer gets: somebody who knows the answers' frequencies and is blind
    difference  mean of worth(a) - worth(b), with a bootstrap over pictures, since the questions of one picture stand
                and fall together

A number that the questions do not allow is None, never 0: chance without choices, majority without truths, accuracy
where nothing is graded.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from typing_extensions import TypedDict

from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation import intervals
from synthvlm_core.evaluation.grading import normalised
from synthvlm_core.parts.benchmark import Answered
from synthvlm_core.store.documents import Count, document

OVERALL = "overall"
KEPT_CHARACTERS = 200
"""Of an answer in a result."""

Difference = dict[str, float]
"""difference, low, high, n."""


@document
class Numbers(TypedDict):
    """Of some questions. A number that they do not allow is null."""

    asked: Count
    n: Count
    accuracy: float | None
    low: float | None
    high: float | None
    chance: float | None
    majority: float | None


@document
class Answer(TypedDict):
    """One question as it was answered."""

    id: str
    picture: str | None
    split: str
    kind: str
    question: str
    truth: list[str]
    choices: list[str]
    answer: str
    right: float | None


@document
class Accuracies(TypedDict):
    """Of one benchmark."""

    overall: Numbers
    by_kind: dict[str, Numbers]
    by_split: dict[str, Numbers]
    answers: list[Answer]


class OtherQuestions(Mendable):
    """Two results that are not about the same questions; the message names the benchmark and the remedy."""


def accuracies(answered: Sequence[Answered]) -> dict[str, Any]:
    """Accuracies overall, by kind and by split, and every answer, as JSON values.

    Returns:
        `overall`, and `by_kind` and `by_split` with one each: asked, n (graded), right, accuracy, low, high, chance,
        majority. `answers`: id, picture, split, kind, question, truth, choices, answer, right.
    """
    kinds = sorted({found.kind for found in answered})
    splits = sorted({found.split for found in answered})
    return {
        OVERALL: _accuracy(answered),
        "by_kind": {kind: _accuracy([found for found in answered if found.kind == kind]) for kind in kinds},
        "by_split": {split: _accuracy([found for found in answered if found.split == split]) for split in splits},
        "answers": [
            {
                "id": found.id,
                "picture": found.picture,
                "split": found.split,
                "kind": found.kind,
                "question": found.question,
                "truth": list(found.truth),
                "choices": list(found.choices),
                "answer": found.answer[:KEPT_CHARACTERS],
                "right": found.right,
            }
            for found in answered
        ],
    }


def compare(a: dict[str, Any], b: dict[str, Any], *, seed: int = 0) -> dict[str, dict[str, Difference]]:
    """How much better `a` answers than `b`: per benchmark, overall and by kind. A benchmark without a graded answer is
    left out.

    Args:
        a, b: `accuracies` by benchmark.
        seed: of the bootstrap.

    Raises:
        OtherQuestions: if they answered different questions.
    """
    found: dict[str, dict[str, Difference]] = {}
    for name, first in a.items():
        second = b.get(name)
        if second is None or [r["id"] for r in first["answers"]] != [r["id"] for r in second["answers"]]:
            raise OtherQuestions(f"{name}: the two results are not about the same questions; evaluate both again")
        pairs = [
            (x, x["right"] - y["right"])
            for x, y in zip(first["answers"], second["answers"], strict=True)
            if x["right"] is not None and y["right"] is not None
        ]
        if pairs:
            kinds = sorted({row["kind"] for row, _ in pairs})
            found[name] = {OVERALL: _difference(pairs, seed)}
            found[name] |= {kind: _difference([p for p in pairs if p[0]["kind"] == kind], seed) for kind in kinds}
    return found


def _accuracy(answered: Sequence[Answered]) -> dict[str, Any]:
    worth = [found.right for found in answered if found.right is not None]
    right, n = sum(worth), len(worth)
    low, high = intervals.wilson(right, n) if n else (None, None)
    return {
        "asked": len(answered),
        "n": n,
        "right": right,
        "accuracy": right / n if n else None,
        "low": low,
        "high": high,
        "chance": _chance(answered),
        "majority": _majority(answered),
    }


def _chance(answered: Sequence[Answered]) -> float | None:
    if not answered or not all(found.choices for found in answered):
        return None
    return sum(1 / len(found.choices) for found in answered) / len(answered)


def _majority(answered: Sequence[Answered]) -> float | None:
    if not answered or not all(found.truth for found in answered):
        return None
    accepted: dict[str, Counter[str]] = {}
    for found in answered:
        accepted.setdefault(found.kind, Counter()).update({normalised(truth) for truth in found.truth})
    return sum(max(counter.values()) for counter in accepted.values()) / len(answered)


def _difference(pairs: Sequence[tuple[dict[str, Any], float]], seed: int) -> Difference:
    gains = np.array([gain for _, gain in pairs], dtype=np.float64)
    # a question on words alone stands for itself
    groups = [f"question {row['id']}" if row["picture"] is None else f"picture {row['picture']}" for row, _ in pairs]
    estimate = intervals.mean_gain(gains, groups, seed=seed)
    return {"difference": estimate.value, "low": estimate.low, "high": estimate.high, "n": len(pairs)}
