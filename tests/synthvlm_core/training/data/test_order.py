import numpy as np

from synthvlm_core.training.data import order
from synthvlm_core.training.data.rows import Example, Numbers


class Counted:
    """48 rows of nothing but their number."""

    def __len__(self) -> int:
        return 48

    def __getitem__(self, number: int) -> Example:
        return Example([number], [number], None)

    def order(self, rng: np.random.Generator, group: int) -> Numbers:
        return rng.permutation(48)


def test_grouping_keeps_kinds_apart_and_every_row_once() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 200, size=1003)
    lengths[rng.random(1003) < 0.2] *= -1
    found = order.grouped_by_modality_and_length(lengths, 16, np.random.default_rng(1))
    assert sorted(found.tolist()) == list(range(1003))
    batches = [lengths[found[at : at + 16]] for at in range(0, 960, 16)]
    assert all((batch > 0).all() or (batch < 0).all() for batch in batches)
    assert np.mean([np.ptp(np.abs(batch)) for batch in batches]) < 30


def test_passes_are_different_and_reproducible() -> None:
    found = order.passes(Counted(), 2.5, seed=[1], group=8)
    assert len(found) == 120
    assert sorted(found[:48].tolist()) == sorted(found[48:96].tolist()) == list(range(48))
    assert found[:48].tolist() != found[48:96].tolist()
    assert (found == order.passes(Counted(), 2.5, seed=[1], group=8)).all()
    assert (found != order.passes(Counted(), 2.5, seed=[2], group=8)).any()


def test_rows_come_in_the_given_order() -> None:
    rows = order.Ordered(Counted(), np.array([5, 5, 2]))
    assert [rows[at].ids for at in range(len(rows))] == [[5], [5], [2]]
