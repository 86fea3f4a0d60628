"""The first row of every id, and how many share it, whatever the order and the parts."""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core import hashing
from synthvlm_core.captions.places import NoCaptionId, Places, WrongCount

IDS = [hashing.digest(bytes([number])) for number in range(40)]


def places(ids: list[str], cut: int, part_rows: int = 1000) -> Places:
    """Over ids that come in tables of `cut` rows."""
    chunks = [pa.chunked_array([ids[first : first + cut]]) for first in range(0, len(ids), cut)]
    return Places(lambda: iter(chunks), len(ids), part_rows=part_rows)


@given(
    ids=st.lists(st.sampled_from(IDS), min_size=1, max_size=60),
    asked=st.lists(st.sampled_from(IDS), max_size=20),
    cut=st.integers(1, 9),
    part_rows=st.integers(5, 70),
)
def test_an_id_stands_at_its_first_row(ids: list[str], asked: list[str], cut: int, part_rows: int) -> None:
    found = places(ids, cut, part_rows)
    counts = Counter(ids)
    assert found.copies.tolist() == [counts[id_] if ids.index(id_) == row else 0 for row, id_ in enumerate(ids)]
    where = np.full(len(asked), -1)
    for part, table in found.find(lambda: iter([pa.table({"caption_id": pa.array(asked, pa.string())})])):
        assert table.num_rows == len(asked)
        assert (where[part >= 0] == -1).all()  # it is of one part
        where = np.maximum(where, part)
    assert where.tolist() == [ids.index(id_) if id_ in counts else -1 for id_ in asked]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30), st.integers(1, 30))
def test_ids_that_meet_in_the_index_stay_apart(halves: list[tuple[int, int]], part_rows: int) -> None:
    """An id that somebody chose so that it falls into the slot of another, or all into one part."""
    ids = [f"{4 * high:016x}{low << 40:016x}" for high, low in halves]
    assert places(ids, 4, part_rows).copies.tolist() == [
        ids.count(id_) if ids.index(id_) == row else 0 for row, id_ in enumerate(ids)
    ]


@pytest.mark.parametrize("bad", ["", "x" * 32, IDS[0].upper(), IDS[0][:-1], IDS[0] + "0", "é" * 16])
def test_what_is_no_id_is_refused_and_never_found(bad: str) -> None:
    with pytest.raises(NoCaptionId, match="is no caption id"):
        places([IDS[0], bad], 9)
    found = places(["f" * 32, "0" * 32, IDS[0]], 9)
    [(where, _)] = found.find(lambda: iter([pa.table({"caption_id": [bad, IDS[0]]})]))
    assert where.tolist() == [-1, 2]


@pytest.mark.parametrize(("said", "told"), [(3, "^2$"), (1, "more than 1")])
def test_another_count_than_was_said_is_told(said: int, told: str) -> None:
    with pytest.raises(WrongCount, match=told):
        Places(lambda: iter([pa.chunked_array([IDS[:2]])]), said)
