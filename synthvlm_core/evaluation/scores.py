"""Stage evaluation: what a checkpoint's answers are worth, with intervals, and whether it still knows its language.

Belongs here: accuracies by kind against chance, perplexity before and after, the difference of two checkpoints, the
stored result. Does not belong here: asking (questions.py), training, what a person is shown (synthvlm_assets).

    evaluations/<variant>/<checkpoint key>/<evaluation key>.json

Definitions

    accuracy    share of answers that are the truth after `questions.normalised`; a 95 % Wilson score interval
    chance      mean of 1 / number of choices: somebody who knows the choices and guesses
    majority    share of each kind's most frequent truth: somebody who knows the answers' frequencies and is blind
    perplexity  `captions.language` over held-out captions; the geometric mean over texts
    difference  mean over questions of right(a) - right(b), with a percentile bootstrap over pictures, since the
                questions of one picture stand and fall together; 95 %
"""

import contextlib
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from synthvlm_core import hashing, models
from synthvlm_core.captions import language
from synthvlm_core.evaluation import questions as asking
from synthvlm_core.evaluation.questions import Question
from synthvlm_core.miniature import benchmark
from synthvlm_core.recipe import Recipe
from synthvlm_core.store import Store
from synthvlm_core.training import checkpoints, vlm

STAGE_VERSION = 1
CAPTIONS = 400
"""Held-out texts whose perplexity is measured, half of them drawable."""
TEXT_BATCH = 64
Z = 1.959963984540054
RESAMPLES = 2000
OVERALL = "overall"

Progress = Callable[[str, int, int], None]
Counts = dict[benchmark.HeldOutSplit, int]


@dataclass(frozen=True)
class Answered:
    """One answered question to look at: PNG bytes, question, answer as generated, truth, whether it is right."""

    picture: bytes
    question: str
    answer: str
    truth: str
    right: bool
    kind: str


def key(recipe: Recipe, counts: Counts | None = None) -> str:
    """Names an evaluation: benchmarks, answer length, how many questions. Batch size changes rounding alone."""
    asked = asking.MINIATURE_QUESTIONS if counts is None else counts
    section = recipe.evaluation.model_dump(mode="json", exclude={"batch_size"})
    return hashing.of_json([section, dict(asked), CAPTIONS, STAGE_VERSION])


def evaluate(
    store: Store,
    recipe: Recipe,
    variant: str,
    checkpoint_key: str,
    *,
    counts: Counts | None = None,
    on_progress: Progress = lambda what, done, total: None,
) -> dict[str, Any]:
    """Ask a VLM checkpoint the recipe's benchmarks and measure its language, or find that it was done.

    Args:
        counts: questions of each split, by default `questions.MINIATURE_QUESTIONS`.
        on_progress: called with (what, done, total).

    Returns:
        The stored result: per benchmark `overall` and `by_kind` and `by_split` (each right, n, accuracy, low, high,
        chance, majority), `answers`, and `language` (before, after, ratio, low, high), `inputs`, `content_hash`.

    Raises:
        RunsOutside: for a benchmark of the paper.
        LookupError: if there is no such checkpoint.
    """
    path = location(store, variant, checkpoint_key, recipe, counts)
    lists = {name: asking.questions(name, counts) for name in recipe.evaluation.benchmarks}
    made_of = checkpoints.complete(store, variant, checkpoint_key)["content_hash"]
    found: dict[str, Any] | None = store.get_json(path)
    if found is not None and found["inputs"]["checkpoint"] == made_of:
        return found
    with checkpoints.local_folder(store, variant, checkpoint_key) as folder:
        model = vlm.load(folder)
    result: dict[str, Any] = {"benchmarks": {}}
    for name, asked in lists.items():
        answers = asking.ask(
            model,
            asked,
            batch_size=recipe.evaluation.batch_size,
            max_new_tokens=recipe.evaluation.max_new_tokens,
            on_progress=on_progress,
        )
        result["benchmarks"][name] = scored(asked, answers)
    result["language"] = _language(recipe, variant, model)
    result["content_hash"] = hashing.of_json(result)
    result["variant"] = variant
    result["inputs"] = {"checkpoint": made_of, "checkpoint_key": checkpoint_key, "evaluation_key": key(recipe, counts)}
    store.put_json(path, result)
    return result


def location(store: Store, variant: str, checkpoint_key: str, recipe: Recipe, counts: Counts | None = None) -> str:
    """Path of an evaluation's result in the store."""
    return store.path("evaluations", variant, checkpoint_key, f"{key(recipe, counts)}.json")


def existing(
    store: Store, recipe: Recipe, variant: str, checkpoint_key: str, counts: Counts | None = None
) -> dict[str, Any]:
    """The stored result. Raises LookupError with the remedy if there is none."""
    found: dict[str, Any] | None = store.get_json(location(store, variant, checkpoint_key, recipe, counts))
    if found is None:
        raise LookupError(f"evaluation of variant {variant!r} is not in {store.url()}: materialize it first")
    return found


def current(store: Store, recipe: Recipe, variant: str) -> dict[str, Any]:
    """The stored result of a variant's latest checkpoint. Raises LookupError with the remedy if there is none."""
    return existing(store, recipe, variant, checkpoints.current_key(store, recipe, variant, "finetune"))


def comparisons(store: Store, recipe: Recipe, variant: str) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """`compare` of a variant with each other variant of the recipe that is evaluated, by the other's name."""
    mine = current(store, recipe, variant)
    found = {}
    for other in recipe.training.variants:
        if other.name != variant:
            with contextlib.suppress(LookupError):  # not evaluated yet
                found[other.name] = compare(mine, current(store, recipe, other.name))
    return found


def scored(asked: Sequence[Question], answers: Sequence[str]) -> dict[str, Any]:
    """Accuracies of answers, overall, by kind and by split, and every answer."""
    rows = [
        {
            "id": question.id,
            "picture": question.picture,
            "split": question.split,
            "kind": question.kind,
            "question": question.text,
            "truth": question.truth,
            "answer": answer[:200],
            "right": asking.is_right(answer, question.truth),
        }
        for question, answer in zip(asked, answers, strict=True)
    ]
    pairs = list(zip(asked, rows, strict=True))
    kinds = sorted({question.kind for question in asked})
    splits = sorted({question.split for question in asked})
    return {
        OVERALL: _accuracy(pairs),
        "by_kind": {kind: _accuracy([p for p in pairs if p[0].kind == kind]) for kind in kinds},
        "by_split": {split: _accuracy([p for p in pairs if p[0].split == split]) for split in splits},
        "answers": rows,
    }


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a share, (0, 1) where nothing was asked."""
    if n == 0:
        return 0.0, 1.0
    share = right / n
    spread = Z * math.sqrt(share * (1 - share) / n + Z * Z / (4 * n * n))
    centre, scale = share + Z * Z / (2 * n), 1 + Z * Z / n
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def compare(a: dict[str, Any], b: dict[str, Any], *, seed: int = 0) -> dict[str, dict[str, dict[str, float]]]:
    """How much better `a` answers than `b`: per benchmark, overall and by kind, {difference, low, high, n}.

    Args:
        a, b: results of `evaluate` on the same questions.

    Raises:
        ValueError: if they answered different questions.
    """
    found = {}
    for name, first in a["benchmarks"].items():
        second = b["benchmarks"].get(name)
        if second is None or [r["id"] for r in first["answers"]] != [r["id"] for r in second["answers"]]:
            raise ValueError(f"{name}: the two results are not about the same questions; evaluate both again")
        gains = np.array(
            [int(x["right"]) - int(y["right"]) for x, y in zip(first["answers"], second["answers"], strict=True)]
        )
        pictures = np.array([row["picture"] for row in first["answers"]])
        kinds = np.array([row["kind"] for row in first["answers"]])
        found[name] = {OVERALL: _difference(gains, pictures, seed)}
        for kind in sorted(set(kinds.tolist())):
            found[name][kind] = _difference(gains[kinds == kind], pictures[kinds == kind], seed)
    return found


def examples(result: dict[str, Any], n: int = 12, counts: Counts | None = None) -> list[Answered]:
    """A few answered pictures of a result: one question of a picture, kinds in turn, the first ones of the list."""
    chosen: list[Answered] = []
    for name, scores in result["benchmarks"].items():
        asked = {question.id: question for question in asking.questions(name, counts)}
        kinds = list(scores["by_kind"])
        seen: set[str] = set()
        for row in scores["answers"]:
            if len(chosen) == n:
                break
            if row["picture"] in seen or row["kind"] != kinds[len(chosen) % len(kinds)]:
                continue
            seen.add(row["picture"])
            buffer = io.BytesIO()
            asked[row["id"]].draw().save(buffer, "PNG")
            chosen.append(
                Answered(buffer.getvalue(), row["question"], row["answer"], row["truth"], row["right"], row["kind"])
            )
    return chosen


def _accuracy(pairs: Sequence[tuple[Question, dict[str, Any]]]) -> dict[str, Any]:
    n = len(pairs)
    right = sum(row["right"] for _, row in pairs)
    low, high = wilson(right, n)
    truths: dict[str, Counter[str]] = {}
    for question, _ in pairs:
        truths.setdefault(question.kind, Counter())[question.truth] += 1
    return {
        "right": right,
        "n": n,
        "accuracy": right / n if n else 0.0,
        "low": low,
        "high": high,
        "chance": sum(1 / len(question.choices) for question, _ in pairs) / n if n else 0.0,
        "majority": sum(max(counter.values()) for counter in truths.values()) / n if n else 0.0,
    }


def _difference(gains: np.ndarray, pictures: np.ndarray, seed: int) -> dict[str, float]:
    """Mean gain with its interval: pictures are drawn with replacement, each with all its questions."""
    _, which = np.unique(pictures, return_inverse=True)
    sums = np.bincount(which, weights=gains)
    sizes = np.bincount(which).astype(np.float64)
    rng = np.random.default_rng([seed, len(gains)])
    drawn = rng.integers(len(sums), size=(RESAMPLES, len(sums)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return {"difference": float(gains.mean()), "low": float(low), "high": float(high), "n": len(gains)}


def _language(recipe: Recipe, variant: str, model: vlm.Vlm) -> dict[str, float]:
    """Perplexity of held-out captions under the language model before training and under the VLM after it.

    `ratio` is after / before, text by text; above 1 the model lost some of its language.
    """
    texts = [caption.text for caption in benchmark.held_out_captions(CAPTIONS)]
    chosen = checkpoints.variant_of(recipe, variant)
    base, tokenizer = models.causal_language_model(chosen.language_model, recipe.folder, "language_model")
    before = np.log(language.perplexities(texts, base, tokenizer, TEXT_BATCH))
    after = np.log(language.perplexities(texts, model.model, model.tokenizer, TEXT_BATCH))
    gains = after - before
    spread = Z * float(gains.std(ddof=1)) / math.sqrt(len(gains))
    ratio = float(gains.mean())
    return {
        "before": math.exp(float(before.mean())),
        "after": math.exp(float(after.mean())),
        "ratio": math.exp(ratio),
        "low": math.exp(ratio - spread),
        "high": math.exp(ratio + spread),
        "n": len(texts),
    }
