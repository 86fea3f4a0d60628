import numpy as np
import pytest

from synthvlm_miniature.world.captions import STYLES, caption
from synthvlm_miniature.world.held_out import HeldOutSplit, held_out_captions, held_out_questions, held_out_scenes
from synthvlm_miniature.world.scenes import sample_scene, split_of
from synthvlm_miniature.world.vague import vague_caption


@pytest.mark.parametrize("split", ["test", "held_out"])
def test_scenes_are_of_their_split_different_and_stable(split: HeldOutSplit) -> None:
    scenes = held_out_scenes(120, split)
    assert {split_of(scene) for scene in scenes} == {split}
    assert len({scene.description for scene in scenes}) == 120
    assert held_out_scenes(30, split) == scenes[:30]


def test_questions_cover_every_kind() -> None:
    asked = held_out_questions(400)
    kinds = {question.kind for _, question in asked}
    assert kinds == {"colour", "shape", "count", "size", "relation", "background", "place", "yes_no"}


def test_texts_are_half_drawable_and_never_training_texts() -> None:
    texts = held_out_captions(200)
    assert sum(text.drawable for text in texts) == 100
    rng = np.random.default_rng(0)
    trained = set()
    for i in range(3000):
        style = STYLES[i % len(STYLES)]
        trained |= {caption(sample_scene(rng), rng, style), vague_caption(rng)}
    assert trained.isdisjoint(text.text for text in texts)


def test_there_are_no_more_texts_than_the_templates_give() -> None:
    with pytest.raises(ValueError, match=r"no more than 3,000"):
        held_out_captions(3001)
