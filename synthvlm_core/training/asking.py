"""Asking a VLM: greedy answers in the words that it was tuned on.

Belongs here: prompts to a batch, generating. Does not belong here: where questions come from and what answers are worth
(evaluation), the words themselves (data/words.py).
"""

from collections.abc import Sequence

from PIL import Image

from synthvlm_core.errors import Mendable
from synthvlm_core.models.vlm import Vlm
from synthvlm_core.progress import Progress, silent
from synthvlm_core.training.data.words import Words


class TooLong(Mendable):
    """A question that does not fit into the model's context; the message begins with its beginning."""


def ask(
    vlm: Vlm,
    pictures: Sequence[Image.Image | None],
    questions: Sequence[str],
    *,
    batch_size: int,
    max_new_tokens: int,
    progress: Progress = silent,
) -> list[str]:
    """Greedy answers as generated, blanks around them cut off.

    Args:
        pictures: RGB, or None for a question on words alone. Read once and in order, a batch at a time, so that they
            may be decoded as they are wanted.
        questions: one for each picture.
        batch_size: questions asked at once; answers differ between sizes by rounding alone.
        max_new_tokens: longest answer.
        progress: called with ("questions", asked, to ask).

    Raises:
        TooLong: if a question leaves no room for an answer of that length.
    """
    import torch

    longest_context = int(vlm.model.config.text_config.max_position_embeddings)
    words = Words(vlm, longest_context, "the context of the language model")
    tokenizer = vlm.tokenizer
    answers: list[str] = []
    for at in range(0, len(questions), batch_size):
        progress("questions", at, len(questions))
        some = range(at, min(at + batch_size, len(questions)))
        seen = [pictures[number] for number in some]
        prompts = [
            words.prompt(questions[number], pictured=picture is not None)
            for number, picture in zip(some, seen, strict=True)
        ]
        longest = max(len(prompt) for prompt in prompts)
        if longest + max_new_tokens > longest_context:
            number = at + max(range(len(prompts)), key=lambda place: len(prompts[place]))
            raise TooLong(
                f"{questions[number][:60]!r} …: question {number + 1} takes {longest} of the model's {longest_context} "
                f"tokens, which leaves no room for an answer of {max_new_tokens}; shorten it or lower max_new_tokens"
            )
        # padded on the left: a generated token follows the last one of its row
        ids = [[tokenizer.pad_token_id] * (longest - len(prompt)) + prompt for prompt in prompts]
        mask = [[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        shown = [picture for picture in seen if picture is not None]
        pixels = {}
        if shown:
            values = vlm.processor.image_processor(shown, return_tensors="pt").pixel_values
            pixels["pixel_values"] = values.to(vlm.model.device, vlm.model.dtype)
        with torch.inference_mode():
            made = vlm.model.generate(
                input_ids=torch.tensor(ids, device=vlm.model.device),
                attention_mask=torch.tensor(mask, device=vlm.model.device),
                **pixels,
                do_sample=False,
                max_new_tokens=max_new_tokens,
            )
        answers += tokenizer.batch_decode(made[:, longest:], skip_special_tokens=True)
    progress("questions", len(questions), len(questions))
    return [answer.strip() for answer in answers]
