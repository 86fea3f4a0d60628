"""CLIP's tokenizer: lower case, and any text has tokens.

Belongs here: the texts it is trained on, tokens as open_clip makes them. Does not belong here: BPE itself
(synthvlm_miniature.training.byte_bpe).
"""

from collections.abc import Iterator

import numpy as np
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training import byte_bpe
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.scenes import sample_scene
from synthvlm_miniature.world.vague import vague_caption

CONTEXT = 48


def build_tokenizer(seed: int = 0, scenes: int = 6000) -> PreTrainedTokenizerFast:
    """A lower-casing byte-level BPE trained on captions: any text has tokens; none of it becomes a special one."""
    rng = np.random.default_rng([seed, 21])

    def texts() -> Iterator[str]:
        for _ in range(scenes):
            scene = sample_scene(rng)
            yield from (caption(scene, rng, style) for style in STYLES)
            yield vague_caption(rng)

    return byte_bpe.train(
        texts(),
        template=f"{byte_bpe.BOS} $A {byte_bpe.EOS}",
        lower_case=True,
        leading_blank=True,
        split_special_tokens=True,
        model_max_length=CONTEXT,
    )


def tokens_of(tokenizer: PreTrainedTokenizerFast, texts: list[str]) -> Tensor:
    """The tokens that open_clip's tokenizer makes, without the columns that are padding in every row."""
    ids = tokenizer(texts, return_tensors="pt", padding=True, truncation=True, max_length=CONTEXT).input_ids
    assert isinstance(ids, Tensor)
    return ids
