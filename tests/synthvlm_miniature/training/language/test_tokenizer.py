from typing import Any


def test_no_text_is_unknown_and_the_picture_token_is_one(tokenizer: Any) -> None:
    text = "naïve 漢字 👩‍👩‍👧 \x00"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer("USER: <image>\nwhat?").input_ids.count(tokenizer.image_token_id) == 1
