"""Local operators that keep one polyphase component of the map, chosen so that a circular shift changes nothing."""

from abc import ABC, abstractmethod
from math import inf
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.blurred import LowPass, binomial, surround
from poolbench.pooling.native import mixture, powers
from poolbench.pooling.norms import power
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.transforms import transformable
from poolbench.pooling.window import Local, Size, Window, full_precision, layout, pair

MODEST = 7.0
"""A power to which float32's numbers are raised in float64 without an overflow."""


class Polyphase(Local, ABC):
    """Base of what subsamples at an offset of its own choosing: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    There are s² offsets, row by row. A map whose size the stride does not divide is wrapped around, as on a torus,
    to the next size that it does. The same choice for another map, of a residual branch say:

        choice = pool.choose(x)
        y, shortcut = pool(x, choice), pool(skip, choice)
    """

    def __init__(self, stride: Size, filter_size: int) -> None:
        if min(pair(stride, "stride")) < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        super().__init__(stride)  # cells as large as the stride, which tile the map
        self.low_pass = LowPass(binomial(filter_size), (1, 1), "circular")

    def choose(self, x: Tensor) -> Tensor:
        """The share of each offset in the output: (N, C, H, W) to (N, s²), summing to 1."""
        return self._shares(self._wrapped(x))

    def forward(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        wrapped, offsets = self._wrapped(x), self.window.kernel[0] * self.window.kernel[1]
        if choice is not None and choice.shape != (len(x), offsets):
            raise ValueError(f"choice must be what choose() gives, {(len(x), offsets)}, got {tuple(choice.shape)}")
        shares = self._shares(wrapped) if choice is None else choice
        return mixture(wrapped, shares, self.window, lambda x, shares: blend(x, shares, self.window))

    @abstractmethod
    def _shares(self, wrapped: Tensor) -> Tensor: ...

    def _wrapped(self, x: Tensor) -> Tensor:
        """`x` after the low-pass filter, wrapped to a size that the stride divides."""
        if len(self.low_pass.taps) > 1:
            x = self.low_pass(x)
        for axis, step in zip((2, 3), self.window.stride, strict=True):
            x = surround(x, axis, 0, -x.shape[axis] % step, "circular")
        return x


def blend(x: Tensor, shares: Tensor, window: Window) -> Tensor:
    """The components of each picture added up by their shares."""
    output = torch.zeros((), dtype=shares.dtype, device=x.device)
    for component, share in zip(window.split(x), shares.unbind(1), strict=True):
        share = share[:, None, None, None]
        # A product with 0 would make NaN of an infinite number that was not chosen.
        output = output + torch.where(share != 0, share * component, 0)
    return output.to(x.dtype).contiguous(memory_format=layout(x))


ROUNDING = 1e-12
"""Sums in float64 that differ by less than this part of what was added up are equal."""


def chosen(scores: Tensor, size: Tensor) -> Tensor:
    """1 at the first of the scores that are the largest but for rounding, 0 elsewhere: (N, s²) to (N, s²).

    A shift changes the order of a sum, and a rounding must not change the choice. `size`, (N, 1): of what was added up.
    """
    largest = scores.amax(1, keepdim=True)
    alike = scores >= largest - ROUNDING * torch.where(size.isfinite(), size, 0)
    places = torch.arange(scores.shape[1], device=scores.device)
    return (torch.where(alike, largest, scores).argmax(1, keepdim=True) == places).to(scores.dtype)


@register(
    "aps",
    "local",
    title="Adaptive polyphase sampling (APS)",
    formula="y = x at offset argmax_ij ‖x_ij‖_p and stride s, x_ij the component at offset (i, j) of all channels",
    paper=Paper(
        "Chaman, Dokmanić",
        2021,
        "Truly shift-invariant convolutional neural networks",
        "https://arxiv.org/abs/2011.14214",
    ),
    gradient="all of it to the component that was kept",
    numbers="copies what it keeps; of norms equal but for rounding the first; ±inf or NaN makes a norm the largest",
    shape="H' = ⌈H / s⌉",
    departs="the authors' code stops at stride 2 and even sizes; exact under circular shift where the stride divides",
)
class APS(Polyphase):
    """The polyphase component of largest norm, one for all channels: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    `p` is that of the norm. With a `filter_size` above 1 the map is blurred first (APS with low-pass filter).

    >>> import torch
    >>> APS()(torch.arange(16.).reshape(1, 1, 4, 4)).flatten().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    def __init__(self, stride: Size = 2, p: float = 2.0, filter_size: int = 1) -> None:
        super().__init__(stride, filter_size)
        self.p = power(p)

    def _shares(self, wrapped: Tensor) -> Tensor:
        with torch.no_grad():
            wrapped = wrapped.detach()  # of forward derivatives too
            if self.p == inf:
                norms = self.window.tiles(wrapped.abs().double()).amax((1, 3, 5)).flatten(1)
            else:
                norms = powers(self._scaled(wrapped), self.window, self.p, self._powers)
            return chosen(norms, norms.amax(1, keepdim=True)).to(torch.promote_types(wrapped.dtype, torch.float32))

    def _scaled(self, wrapped: Tensor) -> Tensor:
        """What has the same norms in the same order, and whose powers do not overflow float64."""
        if self.p <= MODEST and wrapped.dtype != torch.float64:
            return wrapped
        wrapped = wrapped.double()
        largest = wrapped.abs().amax((1, 2, 3), keepdim=True)
        return wrapped / largest.where((largest > 0) & (largest < inf), 1)

    def _powers(self, wrapped: Tensor) -> Tensor:
        return self.window.tiles(wrapped.abs().double().pow_(self.p)).sum(1).sum((2, 4)).flatten(1)


@register(
    "lps",
    "local",
    title="Learned polyphase sampling (LPS)",
    formula="y = x at offset argmax_ij f(x_ij) and stride s; training: Σ_ij z_ij x_ij, z a Gumbel softmax of f(x_ij)",
    paper=Paper(
        "Rojas-Gómez, Lim, Schwing, Do, Yeh",
        2022,
        "Learnable polyphase sampling for shift invariant and equivariant convolutional networks",
        "https://arxiv.org/abs/2210.08001",
    ),
    gradient="training: by the shares, and that of the network; evaluation: all of it to the component that was kept",
    numbers="evaluation copies what it keeps, the first of scores equal but for rounding; NaN, ±inf reach the scores",
    shape="H' = ⌈H / s⌉",
    departs="the authors' code stops at stride 2; exact under circular shift where the stride divides the size",
    random=True,
)
class LPS(Polyphase):
    """The component that a small network scores highest: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    The network, one for all components: two circular 3x3 convolutions to `hidden` channels (C unless given) with a ReLU
    between, and the mean. `temperature` is that of the Gumbel softmax in training.

    >>> import torch
    >>> LPS(8).eval()(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        channels: int,
        stride: Size = 2,
        hidden: int | None = None,
        temperature: float = 1.0,
        filter_size: int = 1,
    ) -> None:
        super().__init__(stride, filter_size)
        if hidden is not None and hidden < 1:
            raise ValueError(f"hidden must be at least 1, or None for as many as the channels, got {hidden}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature
        hidden = hidden or channels
        self.first = nn.Parameter(torch.empty(hidden, channels, 3, 3))
        self.second = nn.Parameter(torch.empty(hidden, hidden, 3, 3))
        for weight in (self.first, self.second):
            nn.init.kaiming_uniform_(weight)

    def _shares(self, wrapped: Tensor) -> Tensor:
        scores = self._scores(wrapped)
        if self.training:
            return F.gumbel_softmax(scores, self.temperature)
        with torch.no_grad():
            most = self.second.abs().mean(0).sum((1, 2)) @ self.first.abs().sum((1, 2, 3))
            return chosen(scores, wrapped.abs().amax((1, 2, 3))[:, None] * most)

    def _scores(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, s²), in float32 at least, so that rounding seldom decides.

        A convolution of every component is one of the map, dilated by the stride. The second one is linear, and on a
        torus every position meets every tap, so that its mean is that of what it reads, times the sum of its taps.
        """
        stride = self.window.stride
        with full_precision(x):
            torus = around(x, stride)
            hidden = F.conv2d(torus, self.first.to(torus.dtype), dilation=stride).relu_()
            total = self.window.tiles(hidden).sum(1).sum(2).flatten(1, 2)
            positions = x.shape[2] * x.shape[3] // total.shape[1]
            return total @ self.second.to(torus.dtype).mean(0).sum((1, 2)) / positions


class Around(torch.autograd.Function):
    """`wide` of a map with so many rows and columns more on every side, as on a torus; autograd's own is slower."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, border: tuple[int, int]) -> Tensor:
        ctx.border, ctx.dtype = border, x.dtype
        (rows, columns), (height, width) = border, x.shape[2:]
        size = *x.shape[:2], height + 2 * rows, width + 2 * columns
        dtype = torch.promote_types(x.dtype, torch.float32)
        torus = torch.empty(size, dtype=dtype, device=x.device, memory_format=layout(x))
        torus[:, :, rows : rows + height, columns : columns + width] = x
        for axis, more in zip((3, 2), (columns, rows), strict=True):
            torus.narrow(axis, 0, more).copy_(torus.narrow(axis, x.shape[axis], more))
            torus.narrow(axis, more + x.shape[axis], more).copy_(torus.narrow(axis, more, more))
        return torus

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        total = gradients[0].clone()
        for axis, more in zip((2, 3), ctx.border, strict=True):
            size = total.shape[axis] - 2 * more
            before, after = total.narrow(axis, 0, more), total.narrow(axis, more + size, more)
            total.narrow(axis, size, more).add_(before)
            total.narrow(axis, more, more).add_(after)
            total = total.narrow(axis, more, size)
        return total.to(ctx.dtype), None


@transformable
def around(x: Tensor, border: tuple[int, int]) -> Tensor:
    """`Around`, however it is transformed."""
    result: Tensor = Around.apply(x, border)
    return result
