import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from synthvlm_miniature.world.edits import edited_captions
from synthvlm_miniature.world.scenes import sample_scene


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=100, deadline=None)
def test_an_edit_changes_one_attribute(seed: int) -> None:
    rng = np.random.default_rng(seed)
    scene = sample_scene(rng)
    edits = edited_captions(scene, rng)
    assert {"colour", "shape", "background"} <= set(edits)
    assert ("direction" in edits) == (scene.count == 2)
    for kind, (right, wrong) in edits.items():
        assert right != wrong
        if kind in ("colour", "shape", "size"):
            changed = [(a, b) for a, b in zip(right.split(), wrong.split(), strict=True) if a != b]
            assert len(changed) == 1
