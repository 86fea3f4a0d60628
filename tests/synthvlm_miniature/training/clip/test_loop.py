from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from synthvlm_miniature.training.clip.loop import learning_rate, train
from synthvlm_miniature.training.clip.settings import Settings

TINY = Settings(steps=12, cool_down=3, pairs=6, singles=4, warm_up=2)


def test_loss_falls_and_the_seed_decides(tokenizer: Any) -> None:
    model, losses = train(TINY, tokenizer, log=False)
    assert np.mean(losses[-3:]) < np.mean(losses[:3]) - 0.3
    _, again = train(replace(TINY, steps=2), tokenizer, log=False)
    assert again == losses[:2]
    _, cooled = train(TINY, tokenizer, log=False, cooled_from=model)
    assert len(cooled) == 3


def test_the_rate_starts_anew_for_the_cool_down() -> None:
    settings = Settings()
    assert learning_rate(settings.warm_up, settings) == pytest.approx(settings.learning_rate)
    assert learning_rate(settings.steps + 20, settings) < settings.cool_down_rate
    assert learning_rate(settings.steps + settings.cool_down, settings) == 0
