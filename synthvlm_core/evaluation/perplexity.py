"""Whether a tuned model still knows its language: perplexity of held-out texts before and after training.

Belongs here: the texts, both measurements, their ratio. Does not belong here: perplexity itself (models/language.py).
"""

import codecs
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation.intervals import geometric_ratio
from synthvlm_core.models import language

BATCH = 64


def read_texts(file: Path) -> list[str]:
    """Texts of a UTF-8 file, one a line; empty lines and a byte order mark are none.

    Raises:
        Mendable: naming file and line, if one is no UTF-8 or there are fewer than two texts.
    """
    texts = []
    for number, line in enumerate(file.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n"), start=1):
        try:
            text = line.decode().removesuffix("\r")
        except UnicodeDecodeError as error:
            raise Mendable(f"{file}:{number}: no UTF-8 ({error}); save the file as UTF-8") from error
        if text.strip():
            texts.append(text)
    if len(texts) < 2:
        raise Mendable(f"{file}: {len(texts)} texts; an interval needs at least two, one a line")
    return texts


def perplexities(texts: list[str], model: Any, tokenizer: Any) -> NDArray[np.float64]:
    """`models.language.perplexities`, in batches of a size that results were made with."""
    return language.perplexities(texts, model, tokenizer, BATCH)


def change(before: NDArray[np.float64], after: NDArray[np.float64]) -> dict[str, float]:
    """Geometric means of two perplexities of the same texts and of their ratio, after / before, with its interval.

    `ratio` above 1 says that the model lost some of its language.
    """
    ratio = geometric_ratio(after, before)
    return {
        "before": math.exp(float(np.log(before).mean())),
        "after": math.exp(float(np.log(after).mean())),
        "ratio": ratio.value,
        "low": ratio.low,
        "high": ratio.high,
        "n": len(before),
    }
