import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from poolbench.pooling.fixed import Average, Max
from poolbench.pooling.stochastic import S3, MixedCoin, Stochastic, kept

DRAWS = 20_000
ACCEPTED = 1e-4


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def p_value(counts: list[int] | Tensor, expected: Tensor | None = None) -> float:
    """Of Pearson's chi-square test: of equal frequencies unless others are expected."""
    seen = torch.as_tensor(counts, dtype=torch.float64)
    expected = seen.mean().expand_as(seen) if expected is None else expected.double()
    statistic = ((seen - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(seen.new_tensor((len(seen) - 1) / 2), statistic / 2))


def frequencies(module: torch.nn.Module, window: Tensor) -> list[int]:
    """How often each value of a window (k, k) of different values came out."""
    output = module(window.expand(1, DRAWS, *window.shape)).flatten()
    assert torch.isin(output, window).all()
    return [int((output == value).sum()) for value in window.flatten()]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scale", [1.0, 1e-6, 6000.0])
def test_positions_are_drawn_in_proportion_to_their_values(dtype: torch.dtype, scale: float) -> None:
    window = (torch.tensor([[1.0, 4.0, 0.5], [2.0, 8.0, 3.0], [0.25, 6.0, 5.0]]) * scale).to(dtype)
    expected = window.double().flatten() / window.double().sum() * DRAWS
    assert p_value(frequencies(Stochastic(3), window), expected) > ACCEPTED


def test_zeros_and_negatives_are_never_drawn() -> None:
    window = torch.tensor([[-1.0, 3.0, 0.0], [-2.0, 1.0, -4.0], [-0.5, -8.0, -3.0]])
    drawn = frequencies(Stochastic(3), window)
    assert drawn[1] + drawn[4] == DRAWS
    assert p_value([drawn[1], drawn[4]], torch.tensor([0.75, 0.25]) * DRAWS) > ACCEPTED


def test_evaluation_is_the_expectation_of_the_draw() -> None:
    window = torch.rand(1, 1, 3, 3)
    mean = Stochastic(3)(window.expand(1, DRAWS, 3, 3)).mean()
    torch.testing.assert_close(Stochastic(3).eval()(window).squeeze(), mean, rtol=0.02, atol=0)


@given(values=st.lists(st.floats(-4, 4, width=32), min_size=16, max_size=16))
def test_the_gradient_of_a_draw_goes_to_the_value_drawn(values: list[float]) -> None:
    x = torch.tensor(values).reshape(1, 1, 4, 4).requires_grad_()
    y = Stochastic(2)(x)
    y.sum().backward()
    assert x.grad is not None
    shares, cells = (each.detach().unfold(2, 2, 2).unfold(3, 2, 2).flatten(4) for each in (x.grad, x))
    assert torch.equal(shares.sum(-1), (y > 0).float())
    assert torch.equal((shares * cells).sum(-1), y)


@pytest.mark.parametrize("value", [1e-40, 1e-45])
def test_of_the_smallest_numbers_no_zero_is_drawn(value: float) -> None:
    x = torch.zeros(1, 1, 400, 4)
    x[..., ::4, 2] = x[..., 3::4, 1] = value  # two of each window of 16
    x.requires_grad_()
    y = Stochastic(4)(x)
    y.sum().backward()
    assert (y > 0).all()
    assert x.grad is not None
    assert int(x.grad[x > 0].sum()) == int(x.grad.sum()) == 100


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("value", [1e38, 3e38, 1e-40])
def test_extreme_numbers_of_float32(value: float, training: bool) -> None:
    y = Stochastic(4).train(training)(torch.full((1, 1, 4, 4), value))
    torch.testing.assert_close(y.item(), torch.tensor(value).item(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("training", [False, True])
def test_a_window_without_a_positive_value_gives_zero_and_no_gradient(training: bool) -> None:
    x = torch.tensor([[[[-1.0, 0.0], [0.0, -2.0]]]], requires_grad=True)
    y = Stochastic(2).train(training)(x)
    y.backward()
    assert y.item() == 0
    assert x.grad is not None
    assert not x.grad.any()


@pytest.mark.parametrize("values", [[3.0, 0.0, 0.0, 0.0], [3.0, 1.5, 1.5, 1.5]])
def test_the_expectation_of_the_largest_numbers_has_a_gradient(values: list[float], backend: None) -> None:
    gradients = []
    for scale in (1.0, 1e38):
        x = (torch.tensor(values).reshape(1, 1, 2, 2) * scale).requires_grad_()
        gradients.append(torch.autograd.grad(Stochastic(2).eval()(x).sum(), x)[0])
    torch.testing.assert_close(*gradients)


def test_infinity_and_nan_give_nan_in_training() -> None:
    for value in (torch.inf, torch.nan):
        assert Stochastic(2)(torch.tensor([[[[1.0, value], [2.0, 3.0]]]])).isnan()


def test_a_window_of_too_many_positions() -> None:
    with pytest.raises(ValueError, match="kernel_size must hold at most 255 positions, got 16 x 16"):
        Stochastic(16)


def test_the_coin_is_fair_and_belongs_to_one_map() -> None:
    x = torch.rand(200, 10, 4, 4)
    y, largest, mean = MixedCoin(10)(x), Max()(x), Average()(x)
    heads = (y == largest).all(3).all(2)
    assert ((y == mean).all(3).all(2) != heads).all()
    assert p_value([int(heads.sum()), int((~heads).sum())]) > ACCEPTED


def test_evaluation_takes_what_the_coin_chose_more_often() -> None:
    module, x = MixedCoin(8), torch.rand(3, 8, 4, 4)
    assert torch.equal(module.eval()(x), Max()(x))
    heads = (module.train()(x) == Max()(x)).all(3).all(2).sum(0)
    expected = torch.where((heads >= 2)[:, None, None], Max()(x), Average()(x))
    assert 0 < int((heads >= 2).sum()) < 8
    assert torch.equal(module.eval()(x), expected)


@given(size=st.integers(1, 20), step=st.integers(1, 4), times=st.integers(1, 3))
def test_every_strip_keeps_its_part(size: int, step: int, times: int) -> None:
    grid = step * times
    places = kept(size, step, grid)
    assert len(places) == -(-size // step)
    assert (places.diff() > 0).all()
    for start in range(0, size, grid):
        assert int(((places >= start) & (places < start + grid)).sum()) == -(-min(grid, size - start) // step)


def test_rows_are_drawn_evenly() -> None:
    counts = torch.stack([kept(10, 2, 4) for _ in range(2000)]).flatten().bincount(minlength=10)
    assert p_value(counts[:8]) > ACCEPTED
    assert p_value(counts[8:]) > ACCEPTED


def test_s3_draws_from_the_dense_maximum_alike_for_all_maps() -> None:
    x = torch.rand(1, 1, 9, 9).expand(2, 3, 9, 9)
    y = S3(3, 2, 1, grid_size=4)(x)
    assert y.shape == (2, 3, 5, 5)
    assert torch.isin(y, Max(3, 1, 1)(x)).all()
    assert torch.equal(y, y[:1, :1].expand_as(y))


def test_s3_at_stride_one_is_max() -> None:
    x = torch.rand(1, 2, 6, 6)
    assert torch.equal(S3(3, 1)(x), Max(3, 1)(x))


def test_a_grid_is_a_multiple_of_the_stride() -> None:
    with pytest.raises(ValueError, match=r"grid_size must be a multiple of the stride \(2, 2\), got 3"):
        S3(grid_size=3)
