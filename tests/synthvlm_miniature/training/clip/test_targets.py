from synthvlm_miniature.training.clip.targets import patches_of, slots_of
from synthvlm_miniature.training.optimization import IGNORED
from synthvlm_miniature.world.scenes import BACKGROUNDS, PLACES, SHAPES, Scene, Thing


def test_the_truth_for_the_heads() -> None:
    scene = Scene((Thing("green", "ring", "large", "centre"),), "grey", 0)
    slots = slots_of(scene).tolist()
    assert slots[3:6] == [1 + SHAPES.index("ring"), 1, PLACES.index("centre")]
    assert slots[0:3] == [0, IGNORED, IGNORED]
    assert slots[-1] == tuple(BACKGROUNDS).index("grey")
    colours = patches_of(scene)[0].reshape(8, 8)
    assert colours[4, 4] == 2
    assert colours[0, 0] == 0
