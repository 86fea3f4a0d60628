"""The pipeline's tokenizer: transformers' CLIPTokenizer with the merges of the world's captions.

Belongs here: its training, tokens as the pipeline makes them. Does not belong here: the tokenizers of the other models
(synthvlm_miniature.training.byte_bpe).
"""

import json
from collections.abc import Sequence
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor
from transformers import CLIPTokenizer

LENGTH = 48


def train_tokenizer(texts: Sequence[str]) -> CLIPTokenizer:
    """A CLIPTokenizer with the merges of the texts; all 256 bytes are in it, so nothing is unknown."""
    shape = CLIPTokenizer().backend_tokenizer
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    learner.normalizer, learner.pre_tokenizer = shape.normalizer, shape.pre_tokenizer
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1200,
            min_frequency=5,
            end_of_word_suffix="</w>",
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    merges: Any = [tuple(pair) for pair in json.loads(learner.to_str())["model"]["merges"]]
    words = [*alphabet, *(letter + "</w>" for letter in alphabet)]
    words += [word for word in dict.fromkeys("".join(pair) for pair in merges) if word not in set(words)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=LENGTH)


def tokenize(tokenizer: CLIPTokenizer, texts: list[str]) -> Tensor:
    """Token numbers, padded and cut to `LENGTH`, as the pipeline makes them."""
    found = tokenizer(texts, padding="max_length", max_length=LENGTH, truncation=True)
    return torch.tensor(found["input_ids"], dtype=torch.int16)
