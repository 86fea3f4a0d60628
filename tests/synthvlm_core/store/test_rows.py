"""Rows come out in the order in which they went in, as many at a time as are wanted."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.store.rows import Rows


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 7)), min_size=1, max_size=20))
def test_no_row_is_lost_or_moved(steps: list[tuple[int, int]]) -> None:
    rows, added, taken = Rows(), 0, []
    for add, take in steps:
        rows.add(pa.table({"n": pa.array(range(added, added + add), pa.int64())}))
        added += add
        before = len(rows)
        found = rows.take(take)
        assert found.num_rows == min(take, before)
        assert found["n"].num_chunks <= 1
        taken += found["n"].to_pylist()
        assert len(rows) == added - len(taken)
    assert taken == list(range(len(taken)))


def test_nothing_has_no_columns() -> None:
    with pytest.raises(ValueError, match="no rows were added"):
        Rows().take(1)
