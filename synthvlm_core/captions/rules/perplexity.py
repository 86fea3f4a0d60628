"""Rule perplexity: an upper bound of the caption's perplexity under a causal language model.

models/language.py defines the value. SynthVLM's own scorer is Data-Juicer's KenLM, the rule kenlm_perplexity.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from synthvlm_core.captions.rules.language_rule import LanguageRule
from synthvlm_core.models import language
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds
from synthvlm_core.parts.section import Absent
from synthvlm_core.store import records


class Perplexity(LanguageRule):
    """Captions that a language model finds likely."""

    rule: Literal["perplexity"]
    version = 1
    table = records.PERPLEXITY
    statistic = "perplexity"
    bound = "max_ppl"

    scorer: Annotated[Literal["causal_lm", "kenlm"], Absent("causal_lm")] = "causal_lm"
    """kenlm was never applied; it stays so that recipes that name it are told which rule is."""
    max_ppl: Annotated[float, Field(gt=0.0)]

    def unavailable(self, context: Context) -> str | None:
        if self.scorer == "kenlm":
            return "KenLM is a rule of its own: {rule: kenlm_perplexity, model: …, sentencepiece: …, max_ppl: …}"
        return None

    def bounds(self) -> Bounds:
        return Bounds(maximum=self.max_ppl)

    def values(self, texts: list[str], model: Any, tokenizer: Any, tick: Callable[[int], None]) -> NDArray[np.float64]:
        return language.perplexities(texts, model, tokenizer, self.batch_size, on_progress=tick)
