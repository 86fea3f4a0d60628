"""The language model's batches: tokens, and labels of what is to be learnt.

Belongs here: encoding and padding. Does not belong here: the texts (texts.py).
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from synthvlm_miniature.training.byte_bpe import EOS
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.training.language.texts import Text, texts
from synthvlm_miniature.training.optimization import IGNORED

LONGEST = 288
"""Tokens of a training text: a caption as long as the judge reads, and the prompt around it."""

_POOL = 512


def encode(text: Text, tokenizer: PreTrainedTokenizerFast) -> tuple[list[int], list[int]]:
    """Tokens and labels of one text, behind the start token and cut from the left where it is too long.

    Cut from the left, so that the answer behind a very long caption stays.
    """
    ids: list[int] = []
    labels: list[int] = []
    for part, learnt in text.parts:
        if part == EOS:
            piece = [tokenizer.eos_token_id]
        else:
            piece = tokenizer(part, add_special_tokens=False, split_special_tokens=True).input_ids
        ids += piece
        labels += piece if learnt else [IGNORED] * len(piece)
    keep = LONGEST - 1
    return [tokenizer.bos_token_id, *ids[-keep:]], [IGNORED, *labels[-keep:]]


def batches(settings: Settings, tokenizer: PreTrainedTokenizerFast) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches (tokens, labels) of texts of about equal length."""
    stream = texts(settings)
    rng = np.random.default_rng([settings.seed, 33])
    while True:
        pool = [encode(next(stream), tokenizer) for _ in range(_POOL)]
        pool.sort(key=lambda pair: len(pair[0]))
        cut = [0]
        for at, (row_ids, _) in enumerate(pool):
            if (at + 1 - cut[-1]) * len(row_ids) > settings.tokens and at > cut[-1]:
                cut.append(at)
        cut.append(len(pool))
        for at in rng.permutation(len(cut) - 1):
            rows = pool[cut[at] : cut[at + 1]]
            length = len(rows[-1][0])
            ids = torch.full((len(rows), length), tokenizer.pad_token_id)
            labels = torch.full((len(rows), length), IGNORED)
            for row, (row_ids, row_labels) in enumerate(rows):
                ids[row, : len(row_ids)] = torch.tensor(row_ids)
                labels[row, : len(row_labels)] = torch.tensor(row_labels)
            yield ids, labels
