import pytest
import torch
from torch import nn

from synthvlm_miniature.training import optimization


def test_only_matrices_decay() -> None:
    optimizer = optimization.decayed_adamw(nn.Linear(3, 2).parameters(), 1e-3, 0.05)
    assert [(len(group["params"]), group["weight_decay"]) for group in optimizer.param_groups] == [(1, 0.05), (1, 0.0)]
    assert [p.ndim for p in optimization.optimized(optimizer)] == [2, 1]


def test_an_update_cuts_the_gradient_and_forgets_it() -> None:
    weight = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.SGD([weight], lr=0.0)
    optimization.set_rate(optimizer, 1.0)
    weight.grad = torch.tensor([30.0, 40.0])
    optimization.update(optimizer, [weight])
    assert torch.allclose(weight, torch.tensor([-0.6, -0.8]), atol=1e-5)
    assert weight.grad is None


def test_a_cosine_rises_and_falls_to_a_hundredth() -> None:
    rates = [optimization.cosine(step, 100, 1.0, warm_up=10) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == rates[10] == pytest.approx(1.0)
    assert rates[55] == pytest.approx(0.505)
    assert rates[100] == pytest.approx(0.01)


def test_a_plateau_is_flat_until_the_last_share() -> None:
    rates = [optimization.plateau(step, 1000, 2.0, 0.3) for step in range(1000)]
    assert rates[0] == pytest.approx(0.02)
    assert rates[100] == rates[699] == 2.0
    assert rates[850] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.04)


def test_a_log_prints_the_recent_mean(capsys: pytest.CaptureFixture[str]) -> None:
    record = optimization.Log("clip", every=2)
    for step, loss in enumerate([5.0, 3.0, 1.0]):
        record.add(step, loss, {"right": 0.5})
    assert capsys.readouterr().err.startswith("clip step 2 loss 4.0000 right 0.500 cpu ")
    assert record.losses == [5.0, 3.0, 1.0]
