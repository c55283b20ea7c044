"""Local operators between the mean and the maximum: the power mean (Lp) and the exponentially weighted mean."""

from functools import reduce
from math import inf
from typing import Any

import torch
from torch import Tensor

from poolbench.pooling.fixed import maximum
from poolbench.pooling.native import learned, slide
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, Window, layout, wide

LARGEST = 1e9
"""Among the finite powers: in float32 its mean is the maximum, and further ones would overflow."""
EXPONENT = 1e4
"""Further below the maximum than this, e^(x - max) is 0 in every format, and its product with x - max must be too."""


class PowerMean(torch.autograd.Function):
    """The power mean of each window; keeps the input alone, and raises it to the power again for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, p: float | Tensor, window: Window) -> Tensor:
        ctx.exponent = None if isinstance(p, Tensor) else p
        ctx.save_for_backward(x, *([p] if isinstance(p, Tensor) else []))
        ctx.window = window
        _, scale, _, mean = _powers(x, p, window)
        return (scale * mean ** (1 / p)).to(x.dtype, memory_format=layout(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, *others = ctx.saved_tensors
        p = others[0] if others else ctx.exponent
        views, scale, count, mean = _powers(x, p, ctx.window)
        gradient = wide(gradients[0])
        share = gradient * mean.where(mean > 0, 1) ** (1 / p - 1) / count
        parts = (_raised(view, scale, p - 1, share) for view in views)
        to_x = (ctx.window.scatter(parts, x.shape, gradient) * x.sign()).to(x.dtype)
        if not ctx.needs_input_grad[1]:
            return to_x, None, None
        logarithms = (torch.xlogy(_raised(view, scale, p), _root(view, scale)) for view in views)
        spread = 2 * sum(logarithms, torch.zeros_like(mean)) / count
        spread = spread / mean.where(mean > 0, 1) / p - mean.where(mean > 0, 1).log() / p**2
        return to_x, (gradient * scale * mean ** (1 / p) * spread).sum_to_size(p.shape).to(p.dtype), None


def _powers(x: Tensor, p: float | Tensor, window: Window) -> tuple[list[Tensor], Tensor, Tensor | int, Tensor]:
    """Each |x_k|; the maximum, as parts of which they are raised, so that no power overflows; k²; the powers' mean."""
    views = window.views(window.pad(wide(x).abs(), 0))
    largest = reduce(torch.maximum, views).detach()  # the mean is the same whatever it is scaled by
    scale = largest.where((largest != 0) & (largest != inf), 1)
    first, *others = (_raised(view, scale, p) for view in views)
    rows, columns = window.covered(x.shape[-2:], padding=True)
    count: Tensor | int = window.kernel[0] * window.kernel[1]
    if window.ceil_mode:
        count = scale.new_tensor(rows).outer(scale.new_tensor(columns))
    return views, scale, count, sum(others, first) / count


def _raised(x: Tensor, scale: Tensor, exponent: float | Tensor, times: float | Tensor = 1.0) -> Tensor:
    """`times` (x / scale)^exponent of positive numbers, and 0 of 0, which below 0 has no power: sign(0) decides."""
    ratio = x / scale
    if not isinstance(exponent, Tensor) and exponent >= 1:
        return times * ratio**exponent
    vanishes = ratio < torch.finfo(x.dtype).tiny  # while its power may not
    by_root = _root(x, scale) ** exponent
    return (times * by_root * by_root).where(vanishes, times * ratio.where(~vanishes, 1) ** exponent).where(x != 0, 0)


def _root(x: Tensor, scale: Tensor) -> Tensor:
    """√(x / scale), which is a number for all that are."""
    return x.clamp(min=torch.finfo(x.dtype).tiny).sqrt() / scale.sqrt()


def power(p: float) -> float:
    """`p` if it is a power that means are taken by; else ValueError."""
    if not (0 < p <= LARGEST or p == inf):
        raise ValueError(f"p must be above 0 and at most {LARGEST:g}, or inf, got {p}")
    return float(p)


def power_mean(x: Tensor, p: float | Tensor, window: Window) -> Tensor:
    """(1/k² Σ |x_k|^p)^(1/p) of each window: (N, C, H, W) to (N, C, H', W').

    `p` is a number, `inf` included, or learned: a tensor, () or (C, 1, 1); either must be above 0.
    """
    if isinstance(p, float) and p == inf:
        return maximum(x.abs(), window).clamp(min=0)  # a window that meets padding alone: 0
    if isinstance(p, float):
        return slide("lp", x, window, lambda x: PowerMean.apply(x, p, window), p)
    return learned("lp_learned", x, window, p.reshape(1, 1, -1, 1, 1), lambda x, p: PowerMean.apply(x, p[0], window))


@register(
    "lp",
    "local",
    title="Lp pooling",
    formula="y = (1/k² Σ_k |x_k|^p)^(1/p)",
    paper=Paper(
        "Sermanet, Chintala, LeCun",
        2012,
        "Convolutional neural networks applied to house numbers digit classification",
        "https://arxiv.org/abs/1204.3968",
    ),
    gradient="sign(x_k) (|x_k| / y)^(p-1) / k² to every position; none to a zero; p = inf: as max of |x|",
    numbers="negatives by magnitude; an all-zero window gives 0 and no gradient; ±inf gives inf; NaN gives NaN",
    departs="torch's LPPool2d sums instead of the mean, takes no magnitude, is NaN at odd p and overflows float16",
)
class Lp(Local):
    """The power mean of the magnitudes in each window: (N, C, H, W) to (N, C, H', W').

    p = 1 is the average of |x|, p = inf its maximum. Padding counts as zeros; the cells that `ceil_mode` adds never
    count.

    >>> import torch
    >>> Lp(2)(torch.tensor([[[[1., -7.], [5., 5.]]]])).item()
    5.0
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        p: float = 2.0,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        self.p = power(p)

    def forward(self, x: Tensor) -> Tensor:
        return power_mean(x, self.p, self.window)


class SoftMean(torch.autograd.Function):
    """The exponentially weighted mean of each window; keeps the input alone, and weighs it again for the backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> Tensor:
        ctx.save_for_backward(x)
        ctx.window = window
        largest, _, _, mean = _weights(x, window)
        return (largest + mean).to(x.dtype, memory_format=layout(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,), (x,) = gradients, ctx.saved_tensors
        _, below, total, mean = _weights(x, ctx.window)
        share = wide(gradient) / total
        parts = ((share * drop.exp() * (1 + drop - mean)).to(x.dtype) for drop in below)
        return ctx.window.scatter(parts, x.shape, gradient), None


def _weights(x: Tensor, window: Window) -> tuple[Tensor, list[Tensor], Tensor, Tensor]:
    """Each window's maximum; how far below it x_k lies; Σ e^(x_k - max); the weighted mean of what lies below."""
    views = [wide(view) for view in window.views(window.pad(x, -inf))]
    largest = reduce(torch.maximum, views).detach()  # the mean is the same whatever it is counted from
    limit = torch.finfo(largest.dtype).max
    drops = (view - largest.clamp(-limit, limit) for view in views)
    below = [drop.clamp(min=-EXPONENT).masked_fill(drop > 0, 0) for drop in drops]  # a clamp at 0 has no gradient in it
    total, weighted = torch.zeros_like(largest), torch.zeros_like(largest)
    for drop in below:
        weight = drop.exp()
        total, weighted = total + weight, weighted + weight * drop
    total = total.masked_fill(total < 1, 1)
    return largest, below, total, weighted / total


@register(
    "softpool",
    "local",
    title="SoftPool (exponentially weighted)",
    formula="y = Σ_k e^(x_k) x_k / Σ_k e^(x_k)",
    paper=Paper(
        "Stergiou, Poppe, Kalliatakis",
        2021,
        "Refining activation downsampling with SoftPool",
        "https://arxiv.org/abs/2101.00440",
    ),
    gradient="w_k (1 + x_k - y) to every position, w_k its weight",
    numbers="negatives as any number; padding and -inf weigh nothing; +inf gives +inf; NaN gives NaN",
    departs="the authors' CPU code sums the exponents over the channels too and clamps below 0",
)
class SoftPool(Local):
    """The mean of each window, weighted by the exponential of its values: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> SoftPool(2)(torch.tensor([[[[0., 0.], [0., 100.]]]])).item()
    100.0
    """

    def forward(self, x: Tensor) -> Tensor:
        return slide("softpool", x, self.window, lambda x: SoftMean.apply(x, self.window))
