from collections.abc import Callable
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling.polyphase import APS, LPS, Polyphase

STRIDES = [1, 2, 3, (2, 1), (3, 2)]


Make = Callable[[int | tuple[int, int], int], Polyphase]


def aps(stride: int | tuple[int, int], filter_size: int) -> Polyphase:
    return APS(stride, filter_size=filter_size)


def lps(stride: int | tuple[int, int], filter_size: int) -> Polyphase:
    return LPS(3, stride, filter_size=filter_size)


def is_a_shift(one: Tensor, other: Tensor, exact: bool) -> bool:
    """Whether some circular shift of one map is the other."""
    return any(
        torch.equal(shifted, other) if exact else torch.allclose(shifted, other, atol=1e-6)
        for shifted in (one.roll(shift, (-2, -1)) for shift in product(*map(range, one.shape[-2:])))
    )


@pytest.mark.parametrize("filter_size", [1, 3])
@pytest.mark.parametrize("stride", STRIDES, ids=str)
@pytest.mark.parametrize("make", [aps, lps])
def test_any_circular_shift_shifts_the_output(make: Make, stride: int | tuple[int, int], filter_size: int) -> None:
    torch.manual_seed(0)
    pool, x = make(stride, filter_size).eval(), torch.randn(1, 3, 6, 12)
    y = pool(x)
    for shift in product(range(6), range(12)):
        assert is_a_shift(y, pool(x.roll(shift, (2, 3))), exact=filter_size == 1)


@pytest.mark.parametrize("make", [aps, lps])
def test_every_picture_has_its_own_choice_one_for_all_channels(make: Make) -> None:
    torch.manual_seed(0)
    pool, x = make(2, 1).eval(), torch.randn(16, 3, 6, 6)
    choice = pool.choose(x)
    assert torch.equal(choice.sum(1), torch.ones(16))
    assert len(choice.unique(dim=0)) > 1
    for picture, offset, y in zip(x, choice.argmax(1).tolist(), pool(x), strict=True):
        assert torch.equal(picture[:, offset // 2 :: 2, offset % 2 :: 2], y)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", [aps, lps])
def test_a_choice_serves_another_map(make: Make, training: bool) -> None:
    """The residual branch takes the same positions, whatever its own norms or channels."""
    torch.manual_seed(0)
    pool, x = make(2, 1).train(training), torch.randn(4, 3, 6, 6)
    choice = pool.choose(x)
    both = pool(torch.cat([x, -x, x], 1), choice)
    torch.testing.assert_close(both, torch.cat([pool(x, choice), -pool(x, choice), pool(x, choice)], 1))


@pytest.mark.parametrize("shape", [(1,), (2,), (2, 3), (1, 4)])
def test_a_choice_is_of_these_pictures_and_offsets(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"choice must be what choose\(\) gives, \(2, 4\), got"):
        APS()(torch.rand(2, 3, 4, 4), torch.ones(shape))


def test_the_component_of_largest_norm_is_kept() -> None:
    x = torch.zeros(1, 1, 4, 4)
    x[0, 0, 1::2, ::2] = torch.tensor([[3.0, 3.0], [3.0, 3.0]])
    x[0, 0, 0, 1] = -5.0
    assert torch.equal(APS(p=2)(x), x[..., 1::2, ::2])
    assert torch.equal(APS(p=torch.inf)(x), x[..., ::2, 1::2])


@pytest.mark.parametrize("p", [2.0, 7.0, 400.0])
@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e38), (torch.float32, 1e-30), (torch.float64, 1e200)])
def test_powers_of_no_scale_overflow(p: float, dtype: torch.dtype, scale: float) -> None:
    x = torch.tensor([[[[1.0, 2.0], [0.0, 2.1]]]], dtype=dtype)
    assert APS(p=p).choose(x * scale).tolist() == [[0, 0, 0, 1]]
    assert APS(p=p).choose(0 * x).tolist() == [[1, 0, 0, 0]]


def test_the_choice_is_that_of_full_precision() -> None:
    x = torch.rand(200, 2, 8, 8, generator=torch.Generator().manual_seed(0)).bfloat16()
    for p in (2.0, 8.0, 20.0):
        assert torch.equal(APS(p=p).choose(x).double(), APS(p=p).choose(x.double()))


def test_of_equal_norms_the_first_is_kept() -> None:
    x = torch.tensor([[[[1.0, -1.0], [1.0, 1.0]]]])
    assert APS().choose(x).tolist() == [[1, 0, 0, 0]]


def test_an_infinite_number_elsewhere_does_not_spoil_the_copy() -> None:
    choice = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    x = torch.tensor([[[[1.0, torch.inf], [torch.nan, 2.0]]]], requires_grad=True)
    y = APS()(x, choice)
    y.backward()
    assert y.item() == 1
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(("size", "stride", "smaller"), [((7, 5), 2, (4, 3)), ((1, 1), 4, (1, 1)), ((5, 2), 3, (2, 1))])
def test_a_map_that_the_stride_does_not_divide_is_wrapped(
    size: tuple[int, int], stride: int, smaller: tuple[int, int]
) -> None:
    x = torch.rand(1, 2, *size)
    y = APS(stride)(x)
    assert y.shape[2:] == smaller
    assert torch.isin(y, x).all()


def test_lps_trains_its_network_and_tends_to_a_hard_choice() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 6)
    pool = LPS(3)
    pool(x).square().sum().backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in pool.parameters())
    assert pool.choose(x).max() < 1
    torch.testing.assert_close(LPS(3, temperature=1e-6).choose(x).amax(1), torch.ones(2))


@pytest.mark.parametrize("stride", STRIDES, ids=str)
def test_lps_scores_by_two_convolutions_and_a_mean(stride: int | tuple[int, int]) -> None:
    torch.manual_seed(0)
    pool, x = LPS(3, stride, hidden=5), torch.randn(2, 3, 6, 12)
    for component, scores in zip(pool.window.views(x), pool._scores(x).T, strict=True):
        hidden = F.conv2d(F.pad(component, (1, 1, 1, 1), "circular"), pool.first).relu()
        maps = F.conv2d(F.pad(hidden, (1, 1, 1, 1), "circular"), pool.second)
        torch.testing.assert_close(scores, maps.mean((1, 2, 3)))


def test_lps_draws_by_its_scores() -> None:
    """At a low temperature the offset of a Gumbel softmax is drawn by the softmax of the scores."""
    torch.manual_seed(0)
    pool, x = LPS(1, temperature=1e-3), torch.randn(1, 1, 4, 4).expand(20_000, 1, 4, 4)
    (scores,) = pool._scores(x[:1])
    drawn = pool.choose(x).argmax(1).bincount(minlength=4) / len(x)
    torch.testing.assert_close(drawn, scores.softmax(0), atol=0.02, rtol=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden": 0}, "hidden must be at least 1, or None for as many as the channels, got 0"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"stride": 0}, "must be at least 1, got 0"),
        ({"filter_size": 8}, "filter_size must be from 1 to 7, got 8"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LPS(3, **options)


@pytest.mark.parametrize("pool", [APS(p=1.0), APS(p=2.0), APS(p=3.5), LPS(1, hidden=3)], ids=["1", "2", "3.5", "lps"])
def test_of_components_that_hold_the_same_numbers_the_first_is_kept(pool: Polyphase) -> None:
    """They are added up in another order each, and rounded otherwise."""
    torch.manual_seed(0)
    pool = pool.double().eval()
    for numbers in torch.rand(50, 4, 6, dtype=torch.float64):
        x = torch.empty(1, 1, 8, 12, dtype=torch.float64)
        for row, column in product(range(2), range(2)):
            shift = int(torch.randint(24, ()))
            x[0, 0, row::2, column::2] = numbers.roll((shift // 6, shift % 6), (0, 1))
        assert torch.equal(pool(x), x[..., ::2, ::2])
