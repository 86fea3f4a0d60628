"""The shipped weights load as a plain Llama and are as good as their card says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import AutoTokenizer, LlamaForCausalLM

from synthvlm_core.models import language
from synthvlm_miniature.making.rows import shuffled
from synthvlm_miniature.quality.language import MAX_PPL, load
from synthvlm_miniature.training.language.texts import JUDGE_PROMPT
from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.held_out import held_out_captions, held_out_scenes


@pytest.fixture(scope="module")
def loaded(models: Path) -> tuple[Any, Any]:
    return load(models / "language")


def test_the_shipped_model_is_a_plain_llama(models: Path) -> None:
    folder = models / "language"
    model = LlamaForCausalLM.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert model.config.vocab_size >= len(tokenizer)
    assert tokenizer.image_token == "<image>"
    assert (folder / "model.safetensors").stat().st_size < 4e6
    for word in (" Yes", " No"):
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1


def test_the_judge_is_as_good_as_its_card(loaded: tuple[Any, Any]) -> None:
    texts = held_out_captions(200)
    values = language.judge_yes([text.text for text in texts], JUDGE_PROMPT, *loaded, 64)
    drawable = np.array([text.drawable for text in texts])
    assert np.mean(values[drawable] >= 0.5) >= 0.9
    assert np.mean(values[~drawable] < 0.5) >= 0.9


def test_perplexity_tells_clean_from_dirty_from_shuffled(loaded: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(0)
    scenes = held_out_scenes(120)
    clean = [caption(scene, rng, STYLES[i % 5]) for i, scene in enumerate(scenes)]
    dirty = [f"<p>{text}</p>" for text in clean]
    mixed = [shuffled(text, rng) for text in clean]
    values = [language.perplexities(texts, *loaded, 64) for texts in (clean, dirty, mixed)]
    assert np.mean(values[0] <= MAX_PPL) >= 0.95
    assert np.mean(values[1] > MAX_PPL) >= 0.95
    assert np.mean(values[2] > MAX_PPL) >= 0.95
    assert np.median(values[0]) < np.median(values[1])
    assert np.median(values[0]) < np.median(values[2])
