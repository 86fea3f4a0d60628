from typing import Any

import pytest
from PIL import Image

from synthvlm_core.models.vlm import Vlm
from synthvlm_core.training.asking import TooLong, ask

QUESTIONS = ["what colour is it?", "is it a ring?", "what?", "how many shapes are there?", "why?"]
PICTURES = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "white")]


def test_answers_do_not_depend_on_the_batch(tiny_vlm: Vlm) -> None:
    pictures = [*PICTURES, None, None]
    one, some, all_ = (ask(tiny_vlm, pictures, QUESTIONS, batch_size=n, max_new_tokens=4) for n in (1, 3, 5))
    assert one == some == all_
    assert len(one) == 5
    steps: list[tuple[str, int, int]] = []
    ask(tiny_vlm, pictures, QUESTIONS, batch_size=3, max_new_tokens=1, progress=lambda *step: steps.append(step))
    assert steps == [("questions", 0, 5), ("questions", 3, 5), ("questions", 5, 5)]


def test_a_picture_is_seen(tiny_vlm: Vlm) -> None:
    """Prompts with and without a picture are those of training, and the pixels reach the model."""
    made: list[dict[str, Any]] = []
    generate = tiny_vlm.model.generate
    tiny_vlm.model.generate = lambda **given: made.append(given) or generate(**given)
    ask(tiny_vlm, [PICTURES[0], None], ["what?", "what?"], batch_size=2, max_new_tokens=1)
    image = tiny_vlm.model.config.image_token_id
    assert [(row == image).sum().item() for row in made[0]["input_ids"]] == [16, 0]
    assert made[0]["pixel_values"].shape == (1, 3, 32, 32)
    assert tiny_vlm.tokenizer.decode(made[0]["input_ids"][0]).endswith("\nwhat? ASSISTANT:")
    assert tiny_vlm.tokenizer.decode(made[0]["input_ids"][1]).endswith("<s>USER: what? ASSISTANT:")


def test_a_question_that_leaves_no_room_is_named(tiny_vlm: Vlm) -> None:
    with pytest.raises(TooLong, match=r"^'why why .*: question 2 takes \d+ of the model's 512 tokens"):
        ask(tiny_vlm, [None, None], ["what?", "why " * 600], batch_size=2, max_new_tokens=4)
