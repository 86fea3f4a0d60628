"""What a causal language model says of captions: perplexity, and the answer of a judge.

Belongs here: the two definitions and their batching. Does not belong here: bounds and verdicts (rules.py), loading a
model (models.py), training one.

With t_1 ... t_n the tokens of a text, b the tokenizer's start token (its end token where it has none) and t_{n+1} its
end token:

    perplexity = exp( - 1/(n+1) * sum over i = 1 ... n+1 of log p(t_i | b, t_1 ... t_{i-1}) )

Of a text longer than `MAX_TOKENS` the first `MAX_TOKENS` tokens count, and no end, since the cut is not the text's own.
Probabilities are those at temperature 1, normalised in float32 and summed in float64.

    p(yes) = sum of p(t | b, prompt) over t in Y  /  sum of p(t | b, prompt) over t in Y or N

with Y and N the first tokens of "Yes" and "No" in the usual spellings. The caption in the prompt is cut like above, so
the question around it always stays whole.

A caption is data: a special token's name in it is read as the letters it is made of.

Values do not depend on what else is scored: the shape of a batch follows from the length of its texts alone (lengths
padded to a multiple of `LENGTH_STEP`, batches filled up with copies), padding stands behind the text where a causal
model cannot see it, and the result is rounded. Another batch size, processor or number of threads moves a value by
a few units of the last digit that is kept.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.errors import RecipeError

MAX_TOKENS: Final = 256
"""Tokens of a caption that are looked at."""
LENGTH_STEP: Final = 16
DIGITS: Final = 6
"""Significant digits of a perplexity, decimals of p(yes)."""
YES: Final = ("Yes", " Yes", "yes", " yes", "YES", " YES")
NO: Final = ("No", " No", "no", " no", "NO", " NO")

_MAX_CHARACTERS = 64 * MAX_TOKENS


def perplexities(
    texts: Sequence[str],
    model: Any,
    tokenizer: Any,
    batch_size: int,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """Perplexity of every text, in [1, inf), rounded to `DIGITS` significant digits. See the module for the formula.

    Args:
        texts: any strings, empty ones too.
        batch_size: texts per forward pass; changes speed and memory, and the last digits of values (see the module).
        on_progress: called with the number of texts done.
    """
    import torch

    start, end = _start(tokenizer), tokenizer.eos_token_id
    if end is None:
        raise RecipeError("the language model's tokenizer has no end token, which perplexity needs; take another model")
    rows = []
    for ids in _tokens(tokenizer, _bounded(texts), MAX_TOKENS + 1):
        whole = len(ids) <= MAX_TOKENS
        rows.append([start, *ids[:MAX_TOKENS], *([end] if whole else [])])
    values = np.empty(len(rows), dtype=np.float64)
    done = 0
    for places, batch in _batches(rows, batch_size, end, model.device):
        with torch.inference_mode():
            logits = model(input_ids=batch, use_cache=False).logits
        for row, place in enumerate(places):
            length = len(rows[place])
            predicted = logits[row, : length - 1].float()
            chosen = predicted.gather(1, batch[row, 1:length, None]).squeeze(1)
            losses = torch.logsumexp(predicted, dim=1) - chosen
            values[place] = np.exp(float(losses.double().mean()))
        done += len(places)
        on_progress(done)
    return _significant(values)


def judge_yes(
    texts: Sequence[str],
    prompt: str,
    model: Any,
    tokenizer: Any,
    batch_size: int,
    *,
    on_progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float64]:
    """p(yes) of every text in [0, 1], rounded to `DIGITS` decimals. See the module for the formula.

    Args:
        prompt: contains "{caption}" and ends where the answer begins.
    """
    import torch

    if "{caption}" not in prompt:
        raise ValueError("prompt must contain {caption}")
    yes, no = _answers(tokenizer)
    start = _start(tokenizer)
    asked = [prompt.replace("{caption}", text) for text in _cut(tokenizer, _bounded(texts))]
    rows = [[start, *ids] for ids in _tokens(tokenizer, asked, None)]
    values = np.empty(len(rows), dtype=np.float64)
    done = 0
    for places, batch in _batches(rows, batch_size, start, model.device):
        kept = min(LENGTH_STEP, batch.shape[1])
        with torch.inference_mode():
            # The last token of every text of a batch is among the last LENGTH_STEP positions
            logits = model(input_ids=batch, use_cache=False, logits_to_keep=kept).logits
        skipped = batch.shape[1] - kept
        for row, place in enumerate(places):
            answer = logits[row, len(rows[place]) - 1 - skipped].double()
            odds = torch.logsumexp(answer[yes], dim=0) - torch.logsumexp(answer[no], dim=0)
            values[place] = float(torch.sigmoid(odds))
        done += len(places)
        on_progress(done)
    return values.round(DIGITS)


def _start(tokenizer: Any) -> int:
    found = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    if found is None:
        raise RecipeError("the language model's tokenizer has neither a start nor an end token; take another model")
    return int(found)


def _answers(tokenizer: Any) -> tuple[list[int], list[int]]:
    """First tokens of the spellings of Yes and of No. One that begins both (a lone blank) says nothing."""
    yes, no = ({ids[0] for ids in _tokens(tokenizer, list(words), None)} for words in (YES, NO))
    if not yes - no or not no - yes:
        raise RecipeError("the judge's tokenizer does not tell Yes from No by the first token; take another model")
    return sorted(yes - no), sorted(no - yes)


def _bounded(texts: Sequence[str]) -> list[str]:
    """Texts that any tokenizer takes: lone surrogates replaced, and no text so long that its end could matter."""
    return [text[:_MAX_CHARACTERS].encode("utf-8", "replace").decode("utf-8") for text in texts]


def _tokens(tokenizer: Any, texts: list[str], longest: int | None) -> list[list[int]]:
    """Tokens of every text, without special ones."""
    if not texts:
        return []
    found: list[list[int]] = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        truncation=longest is not None,
        max_length=longest,
        verbose=False,
    ).input_ids
    return found


def _cut(tokenizer: Any, texts: list[str]) -> list[str]:
    """The texts, each cut behind its `MAX_TOKENS`-th token."""
    if not texts:
        return []
    ends = tokenizer(
        texts,
        add_special_tokens=False,
        split_special_tokens=True,
        truncation=True,
        max_length=MAX_TOKENS,
        return_offsets_mapping=True,
        verbose=False,
    ).offset_mapping
    return [
        text[: offsets[-1][1]] if len(offsets) == MAX_TOKENS else text
        for text, offsets in zip(texts, ends, strict=True)
    ]


def _batches(rows: list[list[int]], batch_size: int, padding: int, device: Any) -> Iterator[tuple[list[int], Any]]:
    """Batches of equal shape per padded length, longest first: (places of their rows, tokens)."""
    import torch

    by_length: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        by_length.setdefault(-(-len(row) // LENGTH_STEP) * LENGTH_STEP, []).append(place)
    for length in sorted(by_length, reverse=True):
        for at in range(0, len(by_length[length]), batch_size):
            places = by_length[length][at : at + batch_size]
            filled = [rows[place] for place in places]
            # Kernels choose their order of summation by shape, so an incomplete batch is filled with copies
            filled += [filled[-1]] * (batch_size - len(filled))
            tokens = [row + [padding] * (length - len(row)) for row in filled]
            yield places, torch.tensor(tokens, device=device)


def _significant(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.array([float(f"{value:.{DIGITS}g}") for value in values], dtype=np.float64)
