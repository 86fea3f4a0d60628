"""The language model's tokenizer: it keeps case, and `<image>` is one token, as a VLM needs it.

Belongs here: the texts it is trained on. Does not belong here: BPE itself (synthvlm_miniature.training.byte_bpe).
"""

from collections.abc import Iterator

import numpy as np
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training import byte_bpe
from synthvlm_miniature.training.byte_bpe import BOS, EOS, PAD
from synthvlm_miniature.training.language.texts import JUDGE_PROMPT
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.questions import DESCRIPTION_REQUESTS, questions
from synthvlm_miniature.world.scenes import sample_scene
from synthvlm_miniature.world.vague import vague_caption

IMAGE = "<image>"


def build_tokenizer(seed: int = 0, scenes: int = 6000) -> PreTrainedTokenizerFast:
    """A byte-level BPE trained on clean text: dirt splits into rare tokens and single bytes, never into nothing.

    `<image>` in a text becomes the special token, as the VLM's processor needs it; code that reads foreign text has to
    ask for `split_special_tokens=True`.
    """
    rng = np.random.default_rng([seed, 31])

    def texts() -> Iterator[str]:
        for number in range(scenes):
            scene = sample_scene(rng)
            yield from (caption(scene, rng, style) for style in STYLES)
            yield vague_caption(rng)
            # The answers come often enough to be one token each
            yield JUDGE_PROMPT.format(caption="") + (" Yes" if number % 2 else " No")
            for question in questions(scene, rng)[:2]:
                yield f"USER: \n{question.question} ASSISTANT: {question.answer}"
            yield DESCRIPTION_REQUESTS[number % len(DESCRIPTION_REQUESTS)]

    return byte_bpe.train(
        texts(),
        special=(PAD, BOS, EOS, IMAGE),
        template=f"{BOS} $A",
        lower_case=False,
        leading_blank=False,
        extra_special_tokens={"image_token": IMAGE},
        model_max_length=1024,
        padding_side="right",
        clean_up_tokenization_spaces=False,
    )
