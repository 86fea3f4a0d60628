import re

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_miniature.world.questions import questions
from synthvlm_miniature.world.scenes import SHAPES, sample_scene


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_questions_have_one_answer_among_their_choices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    asked = questions(scene, rng)
    assert all(question.answer in question.choices for question in asked)
    assert sorted(q.answer for q in asked if q.kind == "yes_no") == ["no", "yes"]
    answers = {q.question: q.answer for q in asked}
    assert all(answers[q.question] == q.answer for q in asked)
    for question in asked:
        named = re.fullmatch(r"what colour is the (\w+)\?", question.question)
        if named and named[1] in SHAPES:
            assert [t.colour for t in scene.things if t.shape == named[1]] == [question.answer]
