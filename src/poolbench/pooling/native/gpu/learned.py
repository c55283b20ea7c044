"""Operators with learned numbers, which are one for each plane: (count, N, C), and so are their gradients."""

import torch
from torch import Tensor

from poolbench.pooling.native import fakes
from poolbench.pooling.native.gpu.slide import backward, forward
from poolbench.pooling.native.gpu.windows import plan_of
from poolbench.pooling.native.plan import numbers_of
from poolbench.pooling.window import layout, wide

EPSILON = 1e-5
"""Added to the variance of a map, as torch does."""


def learned(x: Tensor, other: Tensor | None, numbers: Tensor, name: str, plan: str, number: float) -> Tensor:
    """The operator `name` of each window of `x`, (N, C, H, W) to (N, C, H', W'), and of a second map beside it."""
    y = fakes.learned(x, other, numbers, name, plan, number)
    normal = None if other is None else _normalised(other)[0]
    forward(x, plan_of(name, numbers_of(plan), number, x, y), numbers_of(plan), y=y, other=normal, numbers=numbers)
    return y


def learned_backward(
    g: Tensor, x: Tensor, other: Tensor | None, numbers: Tensor, name: str, plan: str, number: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of the input, of the second map and of the learned numbers, (count, N, C, 1)."""
    normal, *of_planes = (None,) if other is None else _normalised(other)
    to_x, to_normal, to_numbers = backward(g, x, normal, numbers, name, numbers_of(plan), number)
    assert to_numbers is not None
    to_other = x.new_empty(0, *x.shape[1:])
    if other is not None:
        assert to_normal is not None
        to_other = torch.ops.aten.native_layer_norm_backward(
            to_normal.contiguous(),
            wide(other).contiguous(),
            other.shape[2:],
            *of_planes,
            None,
            None,
            [True, False, False],
        )[0]
        to_other = to_other.to(x.dtype).contiguous(memory_format=layout(x))
    return to_x, to_other, to_numbers[..., None]


def _normalised(other: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Each map with mean 0 and variance 1; the mean that it had, and one by its standard deviation."""
    normal, mean, rate = torch.native_layer_norm(wide(other), other.shape[2:], None, None, EPSILON)
    return normal.contiguous(memory_format=layout(other)), mean, rate
