"""The funnel as a picture that can be opened, whatever its steps."""

import io

import pytest
from PIL import Image

from synthvlm_core.captions.funnel import Step
from synthvlm_core.pictures import funnels


@pytest.mark.parametrize(
    "steps",
    [
        [Step("rows", 0, 0), Step("different captions", 0, 0)],
        [Step("rows", 0, 10**9), Step("different captions", 10**8, 9 * 10**8), Step("a_rule", 9 * 10**8, 0)],
        [Step("rows", 0, 100), *(Step(f"rule {number}", 1, 99 - number) for number in range(20))],
    ],
    ids=["nothing", "a billion", "many rules"],
)
def test_every_step_has_its_line(steps: list[Step]) -> None:
    picture = Image.open(io.BytesIO(funnels.funnel(steps, "laion: $1 of $2 kept")))
    assert picture.format == "PNG"
    assert picture.height >= 26 * len(steps)
