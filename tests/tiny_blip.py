"""A random BLIP for image-text matching in transformers' layout: its code path at a thousandth of its size."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertTokenizerFast,
    BlipConfig,
    BlipForImageTextRetrieval,
    BlipImageProcessor,
    BlipProcessor,
    BlipTextConfig,
    BlipVisionConfig,
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def write(folder: Path, seed: int = 0) -> Path:
    """Write the model, its tokenizer of single letters and its preprocessing."""
    letters = [chr(code) for code in range(33, 127)]
    vocabulary = {word: place for place, word in enumerate([*SPECIAL, *letters, *(f"##{one}" for one in letters)])}
    words = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=True)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer = BertTokenizerFast(tokenizer_object=words)
    text = BlipTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        encoder_hidden_size=32,
        intermediate_size=64,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=2,
        sep_token_id=3,
        eos_token_id=3,
    )
    vision = BlipVisionConfig(
        hidden_size=32,
        intermediate_size=64,
        projection_dim=16,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=32,
        patch_size=16,
    )
    torch.manual_seed(seed)
    config = BlipConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), initializer_range=0.5)
    model = BlipForImageTextRetrieval(config).eval()
    with torch.no_grad():  # as the layers come they say nearly the same of everything
        for weights in model.parameters():
            if weights.ndim > 1:
                weights.normal_(0.0, 0.3)
    model.save_pretrained(folder, safe_serialization=True)
    pictures = BlipImageProcessor(size={"height": 32, "width": 32})
    BlipProcessor(pictures, tokenizer).save_pretrained(folder)
    return folder
