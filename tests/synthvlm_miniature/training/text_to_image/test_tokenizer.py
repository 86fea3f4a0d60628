from pathlib import Path

import torch

from synthvlm_miniature.training.text_to_image.tokenizer import LENGTH, tokenize, train_tokenizer


def test_tokenizer_knows_every_byte_and_survives_saving(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a red circle on a white background", "a blue ring"] * 10)
    hostile = ["", "zß水🙂\x00\u202e", "<|endoftext|>" * 3, "red " * 500]
    tokens = tokenize(tokenizer, hostile)
    assert tokens.shape == (4, LENGTH)
    assert tokenizer.tokenize("red circle") == ["red</w>", "circle</w>"]
    tokenizer.save_pretrained(tmp_path)
    again = type(tokenizer).from_pretrained(tmp_path)
    assert torch.equal(tokenize(again, hostile), tokens)
    assert again.model_max_length == LENGTH
