import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench import pooling
from poolbench.pooling.fixed import Average, Max
from poolbench.pooling.norms import Lp, SoftPool, power_mean
from poolbench.pooling.window import Window

WINDOWS = [{}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}]


def normal(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("options", WINDOWS)
def test_p_of_one_is_the_average_of_magnitudes(options: dict) -> None:
    x = normal(2, 3, 7, 8)
    torch.testing.assert_close(Lp(**options, p=1)(x), Average(**options)(x.abs()))


@pytest.mark.parametrize("options", WINDOWS)
def test_large_p_approaches_the_maximum(options: dict) -> None:
    x = normal(2, 3, 7, 8)
    largest = Max(**options)(x.abs())
    assert torch.equal(Lp(**options, p=math.inf)(x), largest)
    errors = [(Lp(**options, p=p)(x) - largest).abs().max().item() for p in (10, 100, 1000, 100_000)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


@pytest.mark.parametrize("p", [0.5, 1, 2, 3])
def test_differs_from_torch_by_the_mean_alone_where_nothing_is_negative(p: float) -> None:
    x = normal(2, 3, 6, 8).abs()
    torch.testing.assert_close(Lp(p=p)(x), F.lp_pool2d(x, p, 2) / 4 ** (1 / p))


@pytest.mark.parametrize("p", [0.1, 0.5, 1, 3, 50, math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
@pytest.mark.parametrize("scale", [0, 1e-7, 1, 6e4])
def test_finite_for_every_p(p: float, dtype: torch.dtype, scale: float) -> None:
    values = torch.tensor([[[[0.0, 1.0], [-1.0, 0.5]]]])
    x = (values * scale).to(dtype).requires_grad_()
    y = Lp(p=p)(x)
    y.sum().backward()
    assert y.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("shape", [(), (3, 1, 1)], ids=["shared", "per channel"])
def test_power_may_be_learned(shape: tuple[int, ...]) -> None:
    window = Window.of(3, 2, 1, 1, True)
    x = normal(2, 3, 6, 7).requires_grad_()
    p = (2 + normal(*shape)).abs().requires_grad_()

    def pool(x: Tensor, p: Tensor) -> Tensor:
        return power_mean(x, p, window)

    torch.testing.assert_close(pool(x, torch.full_like(p, 3)), power_mean(x, 3.0, window))
    assert torch.autograd.gradcheck(pool, (x, p), fast_mode=True)
    assert torch.autograd.gradgradcheck(pool, (x, p), fast_mode=True)


@pytest.mark.parametrize("name", ["lp", "global_lp", "aps"])
@pytest.mark.parametrize("p", [0, -1, 1e10, math.nan])
def test_powers_that_have_no_mean(name: str, p: float) -> None:
    with pytest.raises(ValueError, match=r"p must be above 0 and at most 1e\+09, or inf, got"):
        pooling.create(name, 3, p=p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_largest_power_is_the_maximum(dtype: torch.dtype, backend: None) -> None:
    x = torch.tensor([[[[1.0, 2.0], [3.0, -5.0]]]], dtype=dtype, requires_grad=True)
    y = Lp(p=1e9)(x)
    y.backward()
    assert y.item() == pytest.approx(5)
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_minus_infinity_weighs_nothing(dtype: torch.dtype, backend: None) -> None:
    """Not even beside numbers that are small against what an exponential gives at its least."""
    x = torch.tensor([[[[1e-34, 1e-34], [1e-34, -math.inf]]]], dtype=dtype, requires_grad=True)
    y = SoftPool()(x)
    y.backward()
    assert y.item() == pytest.approx(1e-34, rel=1e-6)
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [*3 * [pytest.approx(1 / 3)], 0]


def test_softpool_lies_between_mean_and_maximum() -> None:
    x = normal(2, 3, 6, 8)
    y = SoftPool()(x)
    assert (Average()(x) <= y).all()
    assert (y <= Max()(x)).all()
    torch.testing.assert_close(SoftPool()(1e-6 * x), Average()(1e-6 * x), atol=1e-9, rtol=0)


def test_softpool_moves_with_its_input() -> None:
    """Subtracting the maximum makes large numbers as safe as small ones."""
    x = normal(1, 1, 4, 4)
    torch.testing.assert_close(SoftPool()(x + 1e6) - 1e6, SoftPool()(x), atol=1e-8, rtol=0)


def test_softpool_with_infinities() -> None:
    inf = math.inf
    rows = torch.tensor([[1.0, -inf, 1.0, 1.0], [inf, 0.0, -inf, 2.0], [-inf] * 4])
    assert [SoftPool()(row.reshape(1, 1, 2, 2)).item() for row in rows] == [1, inf, -inf]
