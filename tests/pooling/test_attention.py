import pytest
import torch

from poolbench.pooling.attention import LIP, AdaPool, DetailPreserving, Ordinal
from poolbench.pooling.fixed import Average, Max, Median
from poolbench.pooling.norms import SoftPool

X = torch.randn(2, 3, 9, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("operator", [LIP, Ordinal])
def test_what_has_learned_nothing_is_average(operator: type[LIP | Ordinal]) -> None:
    torch.testing.assert_close(operator(3, 3)(X), Average(3)(X))


def test_importance_follows_the_logits_and_is_bounded() -> None:
    """A positive filter in the middle makes a logit of the value itself: large values count, e^12 times at most."""
    module = LIP(1)
    module.weight.data[:, :, 1, 1] = 1
    module.scale.data.fill_(1000)
    x = torch.tensor([[[[4.0, 1.0], [1.0, 1.0]]]])
    assert module(x).item() == pytest.approx(4, abs=1e-4)
    assert module(x).item() != 4


def test_padding_has_no_importance() -> None:
    torch.testing.assert_close(LIP(3, 3, 2, 1)(torch.ones_like(X)), torch.ones(2, 3, 5, 3))


def test_details_are_preserved_more_with_lambda_and_less_with_alpha() -> None:
    x = torch.tensor([[[[0.0, 0.0], [0.0, 4.0]]]])
    module = DetailPreserving(1)
    module.log_alpha.data.fill_(20)
    assert module(x).item() == pytest.approx(1, abs=1e-6)
    module.log_alpha.data.fill_(-20)
    module.log_lambda.data.fill_(3)
    assert module(x).item() == pytest.approx(4, abs=1e-3)


def test_the_asymmetric_reward_ignores_what_lies_below() -> None:
    x = torch.tensor([[[[4.0, 4.0], [4.0, 0.0]]]])
    symmetric, asymmetric = (DetailPreserving(1, reward=each)(x).item() for each in ("symmetric", "asymmetric"))
    assert symmetric < 3 < asymmetric


def test_a_large_power_does_not_overflow() -> None:
    module = DetailPreserving(1)
    module.log_lambda.data.fill_(6)
    x = (torch.rand(1, 1, 4, 4) * 1e4).requires_grad_()
    module(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert module.log_lambda.grad is not None
    assert module.log_lambda.grad.isfinite().all()


def test_squares_of_large_numbers_do_not_overflow() -> None:
    """Far from 1, where α and ε weigh nothing, the operator scales with its input."""
    module = DetailPreserving(1)
    x = torch.rand(1, 1, 4, 4, generator=torch.Generator().manual_seed(0)) * 1e6
    for factor in (1e14, 1e24, 1e30):
        large = (factor * x).requires_grad_()
        y = module(large)
        y.sum().backward()
        torch.testing.assert_close(y / factor, module(x), rtol=1e-4, atol=0)
        assert large.grad is not None
        assert large.grad.isfinite().all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_the_maximum_of_large_numbers_keeps_its_share(memory_format: torch.memory_format) -> None:
    """That of softpool, half of it: all of it to the maximum, where the others lie far below."""
    x = torch.tensor([[[[1.0, 0.5], [0.25, -0.5]]]]).repeat(1, 4, 1, 1).contiguous(memory_format=memory_format)
    pool, gradients = AdaPool(4), []
    for scale in (1e3, 3e7):
        large = (x * scale).requires_grad_()
        gradients.append(torch.autograd.grad(pool(large).sum(), large)[0])
    torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


def test_the_gradient_of_small_numbers_is_that_of_large_ones(backend: None) -> None:
    """Likeness is one of ratios, and beside the softmax of equals nothing else is in it."""
    x, gradients = torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]]), []
    for scale in (1e-10, 1e-38):
        small = (x * scale).requires_grad_()
        gradients.append(torch.autograd.grad(AdaPool(1)(small).sum(), small)[0])
    torch.testing.assert_close(*gradients)


def test_adapool_without_likeness_is_softpool() -> None:
    module = AdaPool(3, 3)
    module.logit.data.fill_(-100)
    torch.testing.assert_close(module(X), SoftPool(3)(X))


def test_likeness_favours_what_is_near_the_mean() -> None:
    module = AdaPool(1)
    module.logit.data.fill_(100)
    x = torch.tensor([[[[1.0, 1.0], [1.0, 100.0]]]])
    assert module(x).item() > Average()(x).item()  # 25.75, by quotient nearer to 100
    x = torch.tensor([[[[4.0, 4.0], [4.0, 0.0]]]])
    assert module(x).item() > Average()(x).item()


@pytest.mark.parametrize("kernel", [2, 3])
def test_ordinal_holds_max_min_and_median(kernel: int) -> None:
    module, last = Ordinal(3, kernel), kernel**2 - 1
    for ranks, peer in (
        ([0], Max(kernel)(X)),
        ([last], -Max(kernel)(-X)),
        ([last // 2, (last + 1) // 2], Median(kernel)(X)),
    ):
        module.logits.data.fill_(-1000)
        module.logits.data[ranks] = 0
        torch.testing.assert_close(module(X), peer)


@pytest.mark.parametrize(("per_channel", "parameters"), [(True, 27), (False, 9)])
def test_ordinal_weights_are_those_of_a_channel(per_channel: bool, parameters: int) -> None:
    assert Ordinal(3, 3, per_channel=per_channel).logits.numel() == parameters


def test_unknown_reward() -> None:
    with pytest.raises(ValueError, match="unknown reward 'symetric': did you mean 'symmetric'"):
        DetailPreserving(3, reward="symetric")


@pytest.mark.parametrize("beta", [0.0, 1.0, -1.0])
def test_beta_lies_between_its_bounds(beta: float) -> None:
    with pytest.raises(ValueError, match="beta must lie between 0 and 1, got"):
        AdaPool(3, beta=beta)
