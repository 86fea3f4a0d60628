import torch

from synthvlm_miniature.training.text_to_image.readout import ReadOut, answers
from synthvlm_miniature.training.text_to_image.shapes import PROJECTION, TEXT_1, TEXT_2
from synthvlm_miniature.world.scenes import COLOURS, PLACES, SHAPES, SIZES, Scene, Thing

SCENE = Scene((Thing("red", "circle", "small", "left"), Thing("blue", "ring", "large", "right")), "grey", seed=0)


def test_mentions_follow_the_caption_and_places_do_not() -> None:
    one = answers(SCENE, "a red circle left of a blue ring")
    two = answers(SCENE, "a blue ring right of a red circle")
    known = 2 + 3 * len(PLACES)
    assert one[:known] == two[:known]
    first, second = one[known : known + 4], one[known + 4 : known + 8]
    assert first == [
        list(COLOURS).index("red"),
        SHAPES.index("circle"),
        list(SIZES).index("small"),
        PLACES.index("left"),
    ]
    assert two[known : known + 8] == second + first


def test_a_readout_is_asked_of_every_embedding() -> None:
    torch.manual_seed(0)
    readout = ReadOut()
    right = torch.tensor([answers(SCENE, "a red circle left of a blue ring")])
    widths = (TEXT_1["hidden_size"], TEXT_2["hidden_size"], TEXT_2["hidden_size"], PROJECTION)
    embeddings = [torch.randn(1, width) for width in widths]
    assert readout(embeddings, right).item() > 0
    assert readout.accuracy(embeddings[-1], right) == 0.0
