"""The optimiser: the same steps as PyTorch's own, to the bit."""

import pytest
import torch

from models.optimiser import AdamW

RATES = (1e-2, 5e-3, 2e-3)


@pytest.mark.parametrize("decay", [0.0, 0.05])
def test_its_steps_are_those_of_torch(decay: float) -> None:
    ours, theirs = (
        [torch.linspace(-1, 1, 6).reshape(2, 3).requires_grad_(), torch.ones(3).requires_grad_()] for _ in "ab"
    )
    own = AdamW([(ours[:1], decay), (ours[1:], 0.0)], betas=(0.9, 0.98))
    groups = [{"params": theirs[:1], "weight_decay": decay}, {"params": theirs[1:], "weight_decay": 0.0}]
    other = torch.optim.AdamW(groups, lr=RATES[0], betas=(0.9, 0.98), foreach=True)
    for rate in RATES:
        for group in other.param_groups:
            group["lr"] = rate
        own.forget_gradients()
        other.zero_grad()
        for matrix, bias in (ours, theirs):
            torch.autograd.backward(((matrix.sin() * bias) ** 2).sum())
        own.step(rate)
        other.step()
    for one, two in zip(ours, theirs, strict=True):
        assert torch.equal(one, two)
    assert not torch.equal(ours[1], torch.ones(3))


def test_a_parameter_without_a_gradient_stays() -> None:
    moved, still = (torch.ones(2, requires_grad=True) for _ in "ab")
    optimiser = AdamW([([moved, still], 0.1)])
    torch.autograd.backward((moved**2).sum())
    optimiser.step(0.01)
    assert torch.equal(still, torch.ones(2))
    assert not torch.equal(moved, torch.ones(2))
