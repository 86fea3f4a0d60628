"""Pictures come back by rank, whatever order they were put in."""

from hypothesis import given
from hypothesis import strategies as st

from synthvlm_core.release.spool import spool


@given(pictures=st.lists(st.binary(min_size=1, max_size=200), min_size=1), data=st.data())
def test_every_picture_comes_back(pictures: list[bytes], data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(1, len(pictures) + 1)))
    with spool(len(pictures)) as held:
        for number, rank in enumerate(order):
            assert sorted(held.missing) == sorted(order[number:])
            held.put(rank, pictures[rank - 1])
            assert held.get(rank) == pictures[rank - 1]
        assert held.missing == []
        assert held.size == sum(map(len, pictures))
        assert [held.get(rank + 1) for rank in range(len(pictures))] == pictures
