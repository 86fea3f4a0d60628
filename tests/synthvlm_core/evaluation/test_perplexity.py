from pathlib import Path

import numpy as np
import pytest

from synthvlm_core.errors import Mendable
from synthvlm_core.evaluation import perplexity


def test_texts_stand_one_a_line(tmp_path: Path) -> None:
    file = tmp_path / "texts.txt"
    file.write_bytes("a ring\r\n\n  two\u2028lines \nthree".encode())
    assert perplexity.read_texts(file) == ["a ring", "  two\u2028lines ", "three"]
    file.write_bytes(b"a ring\nlatin \xe9\n")
    with pytest.raises(Mendable, match=r"texts\.txt:2: no UTF-8"):
        perplexity.read_texts(file)
    file.write_bytes(b"a ring\n")
    with pytest.raises(Mendable, match=r"texts\.txt: 1 texts; .*at least two"):
        perplexity.read_texts(file)


def test_a_model_that_doubts_its_texts_twice_as_much_has_a_ratio_of_two() -> None:
    before = np.array([2.0, 4.0, 8.0])
    found = perplexity.change(before, 2 * before)
    assert found["ratio"] == pytest.approx(2.0)
    assert found["before"] == pytest.approx(4.0)
    assert found["after"] == pytest.approx(8.0)
    assert found["low"] == pytest.approx(found["high"]) == pytest.approx(2.0)
    assert found["n"] == 3
