import math

import numpy as np
import pytest

from synthvlm_miniature.quality.shares import Share, mean_row, share_row


def test_share_has_an_interval() -> None:
    low, high = Share(95, 100).interval
    assert 0.88 < low < 0.9
    assert 0.97 < high < 0.99


def test_a_row_tells_value_interval_and_number() -> None:
    assert share_row("right", Share(95, 100)) == ("right", 0.95, "95 % [0.888, 0.978] of 100")
    name, value, note = mean_row("cosine", np.array([0.0, 1.0, 0.0, 1.0]))
    assert (name, value) == ("cosine", 0.5)
    assert note == "95 % [-0.066, 1.066] of 4"


def test_nothing_asked_is_no_share() -> None:
    assert math.isnan(Share(0, 0).value)
    assert Share(100, 100).interval == pytest.approx((0.963, 1.0), abs=1e-3)
