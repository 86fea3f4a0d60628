"""Training runs and learns; the shipped weights load through the real classes and are as good as their card says."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, LlamaForCausalLM

from synthvlm_core import miniature, models
from synthvlm_core.captions import language
from synthvlm_core.miniature import benchmark, grammar
from synthvlm_core.miniature.quality.language import MAX_PPL
from synthvlm_core.miniature.training import language as training
from synthvlm_core.recipe import Model

FOLDER = Path(miniature.__file__).parent / "models" / "language"
TINY = training.Settings(steps=14, tokens=500, width=64, layers=2, warm_up=2)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return training.build_tokenizer(scenes=300)


@pytest.fixture(scope="module")
def loaded() -> tuple[Any, Any]:
    return models.causal_language_model(Model(id=str(FOLDER)), "")


def test_loss_falls_and_the_seed_decides(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dirt = training.dirty_captions(rows=150)
    monkeypatch.setattr(training, "dirty_captions", lambda: dirt)
    _, losses = training.train(TINY, tokenizer, log=False)
    assert np.mean(losses[-4:]) < np.mean(losses[:4]) - 0.3
    _, again = training.train(TINY, tokenizer, log=False)
    assert again == losses
    _, other = training.train(replace(TINY, seed=1, steps=2), tokenizer, log=False)
    assert other != losses[:2]


def test_the_texts_are_of_every_kind_and_labelled(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dirt = training.dirty_captions(rows=150)
    monkeypatch.setattr(training, "dirty_captions", lambda: dirt)
    texts = list(islice(training.texts(TINY), 400))
    judged = [text for text in texts if text.parts[0][0].startswith("USER: Does this caption")]
    answers = {text.parts[1][0] for text in judged}
    assert answers == {" Yes", " No"}
    for text in texts:
        ids, labels = training.encode(text, tokenizer)
        assert len(ids) == len(labels) <= training.LONGEST
        assert ids[0] == tokenizer.bos_token_id
        assert labels[-1] == tokenizer.eos_token_id
    ids, labels = training.encode(judged[0], tokenizer)
    assert [label for label in labels if label != training.IGNORED] == ids[-2:]


def test_no_text_is_unknown_and_the_picture_token_is_one(tokenizer: Any) -> None:
    text = "naïve 漢字 👩‍👩‍👧 \x00"
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text
    assert tokenizer("USER: <image>\nwhat?").input_ids.count(tokenizer.image_token_id) == 1


def test_the_shipped_model_is_a_plain_llama() -> None:
    model = LlamaForCausalLM.from_pretrained(FOLDER)
    tokenizer = AutoTokenizer.from_pretrained(FOLDER)
    assert model.config.vocab_size >= len(tokenizer)
    assert tokenizer.image_token == "<image>"
    assert (FOLDER / "model.safetensors").stat().st_size < 4e6
    for word in (" Yes", " No"):
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_the_judge_is_as_good_as_its_card(loaded: tuple[Any, Any]) -> None:
    texts = benchmark.held_out_captions(200)
    values = language.judge_yes([text.text for text in texts], training.JUDGE_PROMPT, *loaded, 64)
    drawable = np.array([text.drawable for text in texts])
    assert np.mean(values[drawable] >= 0.5) >= 0.9
    assert np.mean(values[~drawable] < 0.5) >= 0.9


def test_perplexity_tells_clean_from_dirty_from_shuffled(loaded: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    scenes = benchmark.held_out_scenes(120)
    clean = [grammar.caption(scene, rng, grammar.STYLES[i % 5]) for i, scene in enumerate(scenes)]
    dirty = [f"<p>{text}</p>" for text in clean]
    shuffled = [training.shuffled(text, rng) for text in clean]
    values = [language.perplexities(texts, *loaded, 64) for texts in (clean, dirty, shuffled)]
    assert np.mean(values[0] <= MAX_PPL) >= 0.95
    assert np.mean(values[1] > MAX_PPL) >= 0.95
    assert np.mean(values[2] > MAX_PPL) >= 0.95
    assert np.median(values[0]) < np.median(values[1])
    assert np.median(values[0]) < np.median(values[2])
