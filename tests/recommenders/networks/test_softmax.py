"""Cross-entropy in blocks equals torch's; the sampled one estimates it."""

import pytest
import torch
import torch.nn.functional as F

from musicrec.recommenders.networks.softmax import cross_entropy, sampled_cross_entropy


def problem(rows: int = 13, items: int = 29, dim: int = 5) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    parts = [
        torch.randn(shape, generator=generator).requires_grad_() for shape in ((rows, dim), (items, dim), (items,))
    ]
    return [*parts, torch.randint(items, (rows,), generator=generator)]


@pytest.mark.parametrize("block_bytes", [1, 4 * 29 * 4, 10**6])
@pytest.mark.parametrize("with_bias", [True, False])
def test_loss_and_gradients_equal_those_of_all_logits(block_bytes: int, with_bias: bool) -> None:
    states, weight, bias, targets = problem()
    learnt = [states, weight, bias] if with_bias else [states, weight]
    expected = F.cross_entropy(F.linear(*learnt), targets)
    found = cross_entropy(states, weight, bias if with_bias else None, targets, block_bytes)
    assert torch.allclose(found, expected, atol=1e-6)
    pairs = zip(torch.autograd.grad(3 * found, learnt), torch.autograd.grad(3 * expected, learnt), strict=True)
    for mine, reference in pairs:
        assert torch.allclose(mine, reference, atol=1e-6)


def test_without_gradient_the_loss_is_the_same() -> None:
    states, weight, bias, targets = problem()
    with torch.no_grad():
        found = cross_entropy(states, weight, bias, targets, block_bytes=300)
    assert torch.allclose(found, cross_entropy(states, weight, bias, targets))


def test_a_frozen_table_gets_no_gradient() -> None:
    states, weight, _, targets = problem()
    cross_entropy(states, weight.detach(), None, targets).backward()
    assert states.grad is not None and weight.grad is None


def test_huge_logits_do_not_overflow() -> None:
    states, weight, _, targets = problem()
    found = cross_entropy(1000 * states, weight, None, targets)
    assert torch.allclose(found, F.cross_entropy(1000 * states @ weight.T, targets), rtol=1e-5)


def test_peaked_logits_leave_no_subnormal_gradients() -> None:
    states, weight, bias, targets = problem()
    scaled = 40 * states.detach()
    logits = F.linear(scaled, weight, bias)
    # exp(-150) does not exist in float32, exp(-95) only as a subnormal number.
    assert (logits.amax(dim=1) - logits.amin(dim=1)).max() > 150
    learnt = [weight, bias]
    found = torch.autograd.grad(cross_entropy(scaled, weight, bias, targets), learnt)
    expected = torch.autograd.grad(F.cross_entropy(logits.double(), targets), learnt)
    for mine, reference in zip(found, expected, strict=True):
        assert torch.allclose(mine, reference, atol=1e-6)
        assert not ((mine != 0) & (mine.abs() < torch.finfo(torch.float32).tiny)).any()


def test_autocast_multiplies_in_half_precision_and_keeps_float32_gradients() -> None:
    states, weight, bias, targets = problem()
    exact = torch.autograd.grad(cross_entropy(states, weight, bias, targets), weight)[0]
    with torch.autocast("cpu", torch.bfloat16):
        loss = cross_entropy(states, weight, bias, targets)
    rough = torch.autograd.grad(loss, weight)[0]
    assert loss.dtype == rough.dtype == torch.float32
    assert not torch.equal(rough, exact)
    assert (rough - exact).norm() < 0.02 * exact.norm()


def test_sampled_loss_with_every_item_drawn_is_the_full_one() -> None:
    states, weight, bias, targets = problem()
    # Drawn once each, the target's own column is left out and the target stands in for it.
    found = sampled_cross_entropy(states, targets, torch.arange(29), 29, lambda items: (weight[items], bias[items]))
    assert torch.allclose(found, F.cross_entropy(F.linear(states, weight, bias), targets), atol=1e-6)


def test_sampled_loss_estimates_the_full_one_and_touches_only_what_was_drawn() -> None:
    states, weight, bias, targets = problem(items=1000)
    drawn = torch.randint(1000, (400,), generator=torch.Generator().manual_seed(2))
    found = sampled_cross_entropy(states, targets, drawn, 1000, lambda items: (weight[items], bias[items]))
    full = F.cross_entropy(F.linear(states, weight, bias), targets)
    assert abs(float((found - full).detach())) < 0.2
    touched = torch.autograd.grad(found, weight)[0].abs().sum(dim=1) > 0
    assert set(touched.nonzero()[:, 0].tolist()) <= {*drawn.tolist(), *targets.tolist()}
