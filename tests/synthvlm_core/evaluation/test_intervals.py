import numpy as np
import pytest

from synthvlm_core.evaluation import intervals


def test_wilson_intervals_against_known_values() -> None:
    assert intervals.wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert intervals.wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert intervals.wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)
    assert intervals.wilson(0, 0) == (0.0, 1.0)


def test_a_wilson_interval_holds_the_truth_in_95_of_100_samples() -> None:
    rng = np.random.default_rng(0)
    for share in (0.1, 0.5):
        bounds = [intervals.wilson(int(right), 60) for right in rng.binomial(60, share, 4000)]
        assert np.mean([low <= share <= high for low, high in bounds]) == pytest.approx(0.95, abs=0.02)


def test_a_mean_gain_has_an_interval_that_is_reproducible() -> None:
    rng = np.random.default_rng(1)
    gains = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.6, 0.3])
    groups = [str(at // 4) for at in range(300)]
    found = intervals.mean_gain(gains, groups, seed=3)
    assert found.value == pytest.approx(gains.mean())
    assert 0 < found.low < found.value < found.high
    assert intervals.mean_gain(gains, groups, seed=3) == found
    assert intervals.mean_gain(-gains, groups, seed=3).high == pytest.approx(-found.low)
    assert intervals.mean_gain(np.zeros(5), ["a"] * 5) == intervals.Estimate(0.0, 0.0, 0.0)


def test_gains_of_one_group_count_together() -> None:
    """Gains that come group by group say less than their number suggests."""
    groups = [str(at // 10) for at in range(300)]
    together = np.array([float(at // 10 % 2) for at in range(300)])
    apart = np.array([float(at % 2) for at in range(300)])

    def width(gains: np.ndarray) -> float:
        found = intervals.mean_gain(gains, groups)
        return found.high - found.low

    assert width(together) > 2 * width(apart)


def test_a_geometric_ratio_is_the_mean_of_logarithms() -> None:
    found = intervals.geometric_ratio(np.array([2.0, 8.0]), np.array([1.0, 2.0]))
    assert found.value == pytest.approx(8**0.5)
    spread = intervals.Z * np.std([np.log(2), np.log(4)], ddof=1) / 2**0.5
    assert (found.low, found.high) == pytest.approx((8**0.5 / np.exp(spread), 8**0.5 * np.exp(spread)))
