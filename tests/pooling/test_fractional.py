from collections import Counter
from itertools import pairwise, product
from math import ceil

import pytest
import torch
from torch import Tensor

from poolbench.pooling.fixed import Max, unpool
from poolbench.pooling.fractional import FractionalMax

VARIANTS = list(product([False, True], [False, True]))
variants = pytest.mark.parametrize(("pseudorandom", "overlapping"), VARIANTS)
CHI_SQUARE = {1: 10.83, 2: 13.82, 9: 27.88}
"""What a chi-square of so many degrees of freedom exceeds once in a thousand times."""


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@variants
@pytest.mark.parametrize("size", [1, 2, 7, 25])
@pytest.mark.parametrize("ratio", [1, 1.3, 2**0.5, 2, 2.5])
def test_regions_cover_the_map(pseudorandom: bool, overlapping: bool, size: int, ratio: float) -> None:
    torch.manual_seed(0)
    module = FractionalMax(ratio, pseudorandom, overlapping)
    for _ in range(20):
        first, last, longest = module.regions(size)
        lengths = (last - first + 1).tolist()
        assert len(lengths) == max(int(size / ratio), 1)
        assert first[0] == 0
        assert last[-1] == size - 1
        assert all(start == end + (not overlapping) for end, start in pairwise_of(first, last))
        assert max(lengths) - min(lengths) <= 1
        assert max(lengths) <= longest


def pairwise_of(first: Tensor, last: Tensor) -> list[tuple[int, int]]:
    """The end of each region with the start of the next."""
    regions = list(zip(first.tolist(), last.tolist(), strict=True))
    return [(here[1], following[0]) for here, following in pairwise(regions)]


def test_random_steps_are_each_as_often_the_longer_one() -> None:
    """13 positions in 10 disjoint regions: three of them hold two, each with a chance of 3 in 10."""
    torch.manual_seed(0)
    module, draws = FractionalMax(1.3, pseudorandom=False, overlapping=False), 4000
    longer = torch.zeros(10)
    for _ in range(draws):
        first, last, _ = module.regions(13)
        longer += last - first
    # Three of ten drawn without replacement: nine degrees of freedom, each region's variance enlarged by 10/9.
    assert ((longer - 0.3 * draws) ** 2).sum() / (0.3 * 0.7 * draws) * 9 / 10 < CHI_SQUARE[9]


def test_pseudorandom_regions_follow_a_uniform_shift() -> None:
    """6 positions in 4 disjoint regions, edges at ⌈1.5 (i + u)⌉: as often in each of their orders as u falls there."""
    torch.manual_seed(0)
    module, draws = FractionalMax(1.5, pseudorandom=True, overlapping=False), 3000
    drawn = Counter(tuple(module.regions(6)[0].tolist()) for _ in range(draws))
    shifts = [(number + 0.5) / 3000 for number in range(3000)]
    edges = ([ceil(1.5 * (i + shift)) - ceil(1.5 * shift) for i in range(4)] for shift in shifts)
    expected = Counter(map(tuple, edges))
    assert set(drawn) == set(expected)
    assert sum((drawn[key] - count) ** 2 / count for key, count in expected.items()) < CHI_SQUARE[len(expected) - 1]


@variants
def test_values_are_members_and_switches_point_at_them(pseudorandom: bool, overlapping: bool) -> None:
    x = normal(2, 3, 9, 11)
    value, index = FractionalMax(1.5, pseudorandom, overlapping, return_indices=True)(x)
    assert torch.equal(x.flatten(2).gather(2, index.flatten(2)), value.flatten(2))
    assert value.shape == (2, 3, 6, 7)
    assert torch.equal(unpool(value, index, (9, 11)).flatten(2).gather(2, index.flatten(2)), value.flatten(2))


def test_first_of_equal_maxima_receives_the_gradient() -> None:
    x = torch.zeros(1, 1, 2, 2, requires_grad=True)
    FractionalMax(2, overlapping=False).eval()(x).sum().backward()
    assert x.grad is not None
    assert x.grad.flatten().tolist() == [1, 0, 0, 0]


@variants
def test_evaluation_is_the_same_each_time_and_not_training(pseudorandom: bool, overlapping: bool) -> None:
    torch.manual_seed(0)
    module, x = FractionalMax(1.5, pseudorandom, overlapping), normal(1, 1, 20, 20)
    fixed = module.eval()(x)
    assert torch.equal(module(x), fixed)
    assert any(not torch.equal(module.train()(x), fixed) for _ in range(5))


def test_a_whole_ratio_without_overlap_is_plain_max() -> None:
    x = normal(2, 3, 8, 10)
    for pseudorandom in (False, True):
        assert torch.equal(FractionalMax(2, pseudorandom, overlapping=False)(x), Max()(x))


def test_ratio_must_not_enlarge() -> None:
    with pytest.raises(ValueError, match="ratio must be at least 1"):
        FractionalMax(0.5)
