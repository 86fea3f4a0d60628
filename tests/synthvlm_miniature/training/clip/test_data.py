from itertools import islice
from typing import Any

import numpy as np

from synthvlm_miniature.training.clip.data import batches, edited_twin
from synthvlm_miniature.training.clip.settings import Settings
from synthvlm_miniature.world.scenes import sample_scene, split_of


def test_nothing_held_out_is_trained_on() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        scene = sample_scene(rng)
        twin = edited_twin(scene, rng)
        if twin is not None:
            assert split_of(twin) == "train"
            assert twin.description != scene.description


def test_a_batch_depends_on_the_seed_and_its_number_alone(tokenizer: Any) -> None:
    settings = Settings(pairs=3, singles=2)
    second = list(islice(batches(settings, tokenizer), 2))[1]
    again = next(batches(settings, tokenizer, first=1))
    assert second.pictures.equal(again.pictures)
    assert second.tokens.equal(again.tokens)
    assert second.pictures.shape[1:] == (3, 64, 64)
    assert 5 <= len(second.pictures) <= 8
