"""Rule judge: a language model that is asked whether a caption can be drawn, and answers Yes or No.

SynthVLM, section 3.1 and appendix, where the judge is a 70B model; models/language.py defines the value, the
probability of Yes against No.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator

from synthvlm_core.captions.rules.language_rule import LanguageRule
from synthvlm_core.models import language
from synthvlm_core.parts.part import Context
from synthvlm_core.parts.rule import Bounds
from synthvlm_core.parts.section import Absent, Share
from synthvlm_core.store import records


class Judge(LanguageRule):
    """Captions that a language model says Yes to."""

    rule: Literal["judge"]
    version = 1
    table = records.JUDGE
    statistic = "judge_yes"
    bound = "min_yes"

    answers: Annotated[Literal["here", "server"], Absent("here")] = "here"
    """server was never applied; it stays so that recipes that name it are told which rule is."""
    prompt: str
    """What is asked; `{caption}` stands for the caption. The answer is read from the first token after it."""
    min_yes: Annotated[Share, Absent(0.5)] = 0.5

    @model_validator(mode="after")
    def _prompt_takes_a_caption(self) -> Self:
        if "{caption}" not in self.prompt:
            raise ValueError("prompt must contain {caption}")
        return self

    def unavailable(self, context: Context) -> str | None:
        if self.answers == "server":
            return "a judge on a server is a rule of its own: {rule: served_judge, model: …, server: …, prompt: …}"
        return None

    def bounds(self) -> Bounds:
        return Bounds(minimum=self.min_yes)

    def values(self, texts: list[str], model: Any, tokenizer: Any, tick: Callable[[int], None]) -> NDArray[np.float64]:
        return language.judge_yes(texts, self.prompt, model, tokenizer, self.batch_size, on_progress=tick)
