"""The tokenizers of CLIP and of the language model: byte-level BPE, for which no text is unknown.

Belongs here: training the merges, the special tokens. Does not belong here: the texts they are trained on, the
pipeline's CLIPTokenizer (text_to_image/tokenizer.py).
"""

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY = 1024
PAD, BOS, EOS = "<pad>", "<s>", "</s>"


def train(
    texts: Iterable[str],
    *,
    special: Sequence[str] = (PAD, BOS, EOS),
    template: str,
    lower_case: bool,
    leading_blank: bool,
    **settings: Any,
) -> PreTrainedTokenizerFast:
    """Learn at most `VOCABULARY` tokens from texts.

    Args:
        special: tokens with the numbers 0, 1, ...
        template: what is put round a text, as in `<s> $A </s>`.
        leading_blank: whether the first word is written like the others, with a blank before it.
        settings: more arguments of `PreTrainedTokenizerFast`.
    """
    bpe = Tokenizer(models.BPE())
    if lower_case:
        bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=leading_blank)]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=list(special),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    around = [(token, number) for number, token in enumerate(special) if token in template.split()]
    bpe.post_processor = processors.TemplateProcessing(single=template, special_tokens=around)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=bpe, pad_token=PAD, bos_token=BOS, eos_token=EOS, **settings
    )
