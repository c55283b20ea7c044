from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from poolbench.pooling.blurred import BORDERS, AverageBlur, Blur, MaxBlur, binomial, surround
from poolbench.pooling.fixed import Average, Max

MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zero": "constant"}


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("size", range(1, 8))
def test_binomial_filters_sum_to_one_and_are_symmetric(size: int) -> None:
    taps = binomial(size)
    assert taps.sum() == 1
    assert torch.equal(taps, taps.flip(0))


@pytest.mark.parametrize("size", [1, 2, 3, 9])
@pytest.mark.parametrize("border", BORDERS)
def test_borders_are_those_of_numpy_at_any_size(border: str, size: int) -> None:
    x = normal(1, 1, 2, size)
    expected = np.pad(x.numpy(), ((0, 0), (0, 0), (0, 0), (3, 2)), mode=MODES[border])
    assert torch.equal(surround(x, 3, 3, 2, border), torch.from_numpy(expected))


@pytest.mark.parametrize("border", BORDERS)
def test_deterministic_algorithms_change_no_number(border: str) -> None:
    module, x = Blur(5, border=border), normal(1, 2, 7, 6)
    y = module(x)
    torch.use_deterministic_algorithms(True)
    try:
        assert torch.equal(module(x), y)
    finally:
        torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize("size", range(1, 8))
def test_every_filter_keeps_the_shape(size: int) -> None:
    for height in (1, 2, 7, 32):
        assert Blur(size)(torch.zeros(1, 1, height, height)).shape[-1] == (height - 1) // 2 + 1


def test_a_filter_of_one_tap_blurs_nothing() -> None:
    x = normal(2, 3, 9, 8)
    assert torch.equal(MaxBlur(filter_size=1)(x), Max()(x))
    torch.testing.assert_close(AverageBlur(filter_size=1)(x), Average()(x))
    assert torch.equal(Blur(1)(x), x[..., ::2, ::2])


def test_constant_maps_stay() -> None:
    for border in ("reflect", "replicate", "circular"):
        x = torch.full((1, 2, 6, 6), 3.0)
        torch.testing.assert_close(Blur(5, 2, border)(x), torch.full((1, 2, 3, 3), 3.0))


def test_circular_blur_at_stride_one_moves_with_its_input() -> None:
    x, module = normal(1, 2, 6, 7), Blur(5, 1, "circular")
    torch.testing.assert_close(module(x.roll((2, 3), (2, 3))), module(x).roll((2, 3), (2, 3)))


@pytest.mark.parametrize("size", [3, 5, 7])
def test_agrees_with_timm_at_odd_filters(size: int) -> None:
    """At filters of even size timm turns 32 into 17."""
    layers = pytest.importorskip("timm.layers")
    x = torch.randn(2, 4, 16, 15)
    torch.testing.assert_close(Blur(size)(x), layers.BlurPool2d(4, size, 2)(x))


def test_unknown_border_and_filter() -> None:
    with pytest.raises(ValueError, match=r"unknown border 'reflects': did you mean 'reflect'"):
        Blur(border="reflects")
    with pytest.raises(ValueError, match="filter_size must be from 1 to 7"):
        MaxBlur(filter_size=8)
