from importlib.resources import files
from itertools import islice
from typing import Any

from synthvlm_miniature.training.language.data import LONGEST, encode
from synthvlm_miniature.training.language.settings import Settings
from synthvlm_miniature.training.language.texts import JUDGE_PROMPT, texts
from synthvlm_miniature.training.optimization import IGNORED


def test_the_texts_are_of_every_kind_and_labelled(tokenizer: Any) -> None:
    made = list(islice(texts(Settings(dirt_rows=150)), 400))
    judged = [text for text in made if text.parts[0][0].startswith("USER: Does this caption")]
    answers = {text.parts[1][0] for text in judged}
    assert answers == {" Yes", " No"}
    for text in made:
        ids, labels = encode(text, tokenizer)
        assert len(ids) == len(labels) <= LONGEST
        assert ids[0] == tokenizer.bos_token_id
        assert labels[-1] == tokenizer.eos_token_id
    ids, labels = encode(judged[0], tokenizer)
    assert [label for label in labels if label != IGNORED] == ids[-2:]


def test_the_recipe_asks_the_judge_in_the_words_it_learnt() -> None:
    recipe = files("synthvlm_core.recipe") / "presets" / "miniature.yaml"
    assert f'"{JUDGE_PROMPT}"' in recipe.read_text(encoding="utf-8")
