"""Texts and pictures to tokens and labels, in LLaVA's two forms.

    plain   <s> picture caption \\n                                            learnt: the caption and its line break
    v1      <s>USER: picture \\n question ASSISTANT: answer</s>USER: …          learnt: answers and their </s>

Belongs here: both forms, what is learnt of them, what gives way where they are too long. Does not belong here: where
texts come from (pairs.py, instructions.py).

A picture stands for (size / patch)² tokens. Everything that people wrote is data: a special token's name in it is read
as the letters it is made of, so that a caption can neither end a turn nor ask for a picture.
"""

from collections.abc import Sequence
from typing import Any

from synthvlm_core.errors import RecipeError
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.training.data.rows import IGNORED

KEPT_PROMPT = 8
"""Tokens before an answer that stay in any case where a question is too long: they say that an answer follows."""


class Words:
    """Turns text and pictures into tokens and labels of at most `max_length` tokens, in the words of a VLM.

    Args:
        key: what says `max_length`, for messages.

    Raises:
        RecipeError: if a picture alone would fill `max_length`.
    """

    def __init__(self, vlm: Vlm, max_length: int, key: str = "max_length") -> None:
        tokenizer: Any = vlm.tokenizer
        if max_length < vlm.image_tokens + 2 * KEPT_PROMPT:
            raise RecipeError(
                f"{key} is {max_length}, and a picture takes {vlm.image_tokens} tokens: give at least "
                f"{vlm.image_tokens + 2 * KEPT_PROMPT}"
            )
        self._tokenizer = tokenizer
        self._picture = [int(vlm.model.config.image_token_id)] * vlm.image_tokens
        self._start = [tokenizer.bos_token_id] if tokenizer.bos_token_id is not None else []
        self._end: int = tokenizer.eos_token_id
        self._max_length = max_length

    def plain(self, caption: str) -> tuple[list[int], list[int]]:
        """Tokens and labels of a pair: the picture, then the caption and a line break, which are learnt."""
        text = self._tokens(f"{caption}\n")
        ids = [*self._start, *self._picture, *text]
        labels = [IGNORED] * (len(ids) - len(text)) + text
        return ids[: self._max_length], labels[: self._max_length]

    def conversation(self, turns: Sequence[tuple[str, str]], *, pictured: bool) -> tuple[list[int], list[int]]:
        """Tokens and labels of (question, answer) turns, the picture at the head of the first.

        Too long a conversation ends where it must. If not even one answer would begin before that, the first question
        loses its beginning instead: every row teaches something, and a picture is never cut.
        """
        ids, labels = self._opening(pictured)
        protected = len(ids)
        for turn, (question, answer) in enumerate(turns):
            head = f"\n{question} ASSISTANT:" if turn == 0 and pictured else f"USER: {question} ASSISTANT:"
            self._add(ids, labels, head, f" {answer}")
            ids.append(self._end)
            labels.append(self._end)
        first = next(at for at, label in enumerate(labels) if label != IGNORED)
        if first >= self._max_length:
            cut = first - max(KEPT_PROMPT, self._max_length - protected - (len(ids) - first))
            ids, labels = ids[:protected] + ids[cut:], labels[:protected] + labels[cut:]
        return ids[: self._max_length], labels[: self._max_length]

    def prompt(self, question: str, *, pictured: bool) -> list[int]:
        """Tokens up to where the answer to a first question begins, as `conversation` has them; never cut."""
        ids, labels = self._opening(pictured)
        self._add(ids, labels, f"\n{question} ASSISTANT:" if pictured else f"USER: {question} ASSISTANT:")
        return ids

    def _opening(self, pictured: bool) -> tuple[list[int], list[int]]:
        """What stands before the first question."""
        ids, labels = list(self._start), [IGNORED] * len(self._start)
        if pictured:
            self._add(ids, labels, "USER: ")
            ids += self._picture
            labels += [IGNORED] * len(self._picture)
        return ids, labels

    def _add(self, ids: list[int], labels: list[int], head: str, answer: str = "") -> None:
        """Append a text whose tokens are learnt from `answer` on. One piece, as a tokenizer sees it in use."""
        made = self._tokenizer(
            head + answer,
            add_special_tokens=False,
            split_special_tokens=True,
            return_offsets_mapping=True,
            verbose=False,
        )
        for token, (_, end) in zip(made.input_ids, made.offset_mapping, strict=True):
            ids.append(token)
            labels.append(token if end > len(head) else IGNORED)

    def _tokens(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, verbose=False
        ).input_ids
        return found
