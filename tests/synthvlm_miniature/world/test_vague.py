import numpy as np

from synthvlm_miniature.world.scenes import SHAPES
from synthvlm_miniature.world.vague import vague_caption


def test_vague_captions_are_many_picture_nothing_and_split_apart() -> None:
    rng = np.random.default_rng(0)
    train = {vague_caption(rng) for _ in range(3000)}
    test = {vague_caption(rng, "test") for _ in range(300)}
    assert len(train) > 1000
    assert train.isdisjoint(test)
    assert not any(shape in text.split() for text in train for shape in SHAPES)
