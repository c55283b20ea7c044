"""Local operators whose weights depend on what the window holds: importance, detail, likeness, rank."""

from functools import partial, reduce
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.fixed import exchanges
from poolbench.pooling.native import learned
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, Window, full_precision, layout, wide

BOUND = 12.0
"""Largest logit of local importance pooling, as in the paper: one position outweighs another e^12 times at most."""
DETAIL = 1e-3
"""ε² of detail-preserving pooling: smaller squares of a difference hardly count."""
REWARDS = ("symmetric", "asymmetric")


def weighted(values: list[Tensor], logits: list[Tensor]) -> Tensor:
    """Σ_k e^(l_k) v_k / Σ_k e^(l_k), however large the logits."""
    largest = reduce(torch.maximum, logits).detach()
    weights = [(logit - largest).exp() for logit in logits]
    total = reduce(torch.add, (weight * value for weight, value in zip(weights, values, strict=True)))
    return total / reduce(torch.add, weights)


@register(
    "lip",
    "local",
    title="Local importance pooling (LIP)",
    formula="y = Σ_k e^(l_k) x_k / Σ_k e^(l_k), l = 12 σ(norm(W * x))",
    paper=Paper(
        "Gao, Wang, Wu",
        2019,
        "LIP: local importance-based pooling",
        "https://arxiv.org/abs/1908.04156",
    ),
    gradient="e^(l_k) / Σ e^(l) to every position, and that of its logit through the network",
    numbers="negatives as any number; padding weighs nothing; NaN or ±inf makes its whole picture NaN; squares of maps "
    "beyond 1e17 (float32) overflow in the norm, as they do in torch's",
)
class LIP(Local):
    """The mean of each window, weighted by a learned importance: (N, C, H, W) to (N, C, H', W').

    The logits come from a 3x3 convolution over all channels, normalised over each map; it starts at zero, so that
    every position weighs the same.

    >>> import torch
    >>> LIP(1)(torch.tensor([[[[1., 5.], [0., 2.]]]])).item()
    2.0
    """

    def __init__(self, channels: int, kernel_size: Size = 2, stride: Size | None = None, padding: Padding = 0) -> None:
        super().__init__(kernel_size, stride, padding)
        self.weight = nn.Parameter(torch.zeros(channels, channels, 3, 3))
        self.scale = nn.Parameter(torch.ones(channels, 1, 1))
        self.shift = nn.Parameter(torch.zeros(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        numbers = torch.stack([wide(self.scale), wide(self.shift)])[:, None]
        return learned("lip", x, self.window, numbers, partial(_important, self.window), BOUND, self._raw(x))

    def _raw(self, x: Tensor) -> Tensor:
        """The importance of each position before it is normalised; of bfloat16 as any convolution of such a map."""
        values = x if x.dtype == torch.bfloat16 else wide(x)
        with full_precision(x):
            return F.conv2d(values, self.weight.to(values.dtype), padding=1)


def _important(window: Window, x: Tensor, numbers: Tensor, raw: Tensor) -> Tensor:
    scale, shift = numbers
    with full_precision(x):
        importance = (BOUND * (F.layer_norm(wide(raw), raw.shape[2:]) * scale + shift).sigmoid()).exp()
    total, weights = (
        F.avg_pool2d(window.pad(each, 0), window.kernel, window.stride) for each in (importance * wide(x), importance)
    )
    return (total / weights).to(x.dtype).contiguous(memory_format=layout(x))


@register(
    "detail_preserving",
    "local",
    title="Detail-preserving pooling (DPP)",
    formula="y = Σ_k w_k x_k / Σ_k w_k, w_k = α + ((x_k - m)² + ε²)^(λ/2), m the mean of the window",
    paper=Paper(
        "Saeedan, Weber, Goesele, Roth",
        2018,
        "Detail-preserving pooling in deep networks",
        "https://arxiv.org/abs/1804.04076",
    ),
    gradient="w_k / Σ w to every position, and that of its weight",
    numbers="negatives as any number; padding counts as zeros; ±inf and NaN give NaN",
    departs="the authors' code divides the squares by their mean in the window and leaves out the root of λ/2",
)
class DetailPreserving(Local):
    """The mean of each window, weighted by the distance from it: (N, C, H, W) to (N, C, H', W').

    α and λ are learned for each channel as exponentials and start at 1. The reward of a difference is "symmetric", or
    "asymmetric": only what lies above the mean counts. The mean is the plain one (Lite-DPP).

    >>> import torch
    >>> round(DetailPreserving(1)(torch.tensor([[[[0., 0.], [0., 4.]]]])).item(), 2)
    1.6
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        reward: str = "symmetric",
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        if reward not in REWARDS:
            raise unknown("reward", reward, REWARDS)
        self.reward = reward
        self.log_alpha = nn.Parameter(torch.zeros(channels, 1, 1))
        self.log_lambda = nn.Parameter(torch.zeros(channels, 1, 1))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"α": wide(self.log_alpha).exp(), "λ": wide(self.log_lambda).exp()}

    def forward(self, x: Tensor) -> Tensor:
        numbers = torch.stack([wide(self.log_alpha), wide(self.log_lambda).exp()])[:, None]
        least = 0.0 if self.reward == "asymmetric" else -inf
        return learned("detail_preserving", x, self.window, numbers, partial(_detailed, self.window, least), least)


def _detailed(window: Window, least: float, x: Tensor, numbers: Tensor) -> Tensor:
    """No difference from the mean counts as less than `least`."""
    values = window.split(wide(x))
    mean = reduce(torch.add, values) / len(values)
    floor, power = numbers
    logits = []
    for value in values:
        difference = (value - mean).clamp(min=least)
        scale = difference.detach().abs().clamp(min=1)  # squares of it overflow from 1e19 on
        square = (difference / scale).square() + DETAIL / scale.square()
        logits.append(torch.logaddexp(floor, power / 2 * square.log() + power * scale.log()))
    return weighted(values, logits).to(x.dtype).contiguous(memory_format=layout(x))


@register(
    "adapool",
    "local",
    title="AdaPool",
    formula="y = β Σ e^(d_k) x_k / Σ e^(d_k) + (1 - β) Σ e^(x_k) x_k / Σ e^(x_k), d_k = 2 |x_k m| / (x_k² + m²)",
    paper=Paper(
        "Stergiou, Poppe",
        2021,
        "AdaPool: exponential adaptive pooling for information-retaining downsampling",
        "https://arxiv.org/abs/2111.00772",
    ),
    gradient="that of both weighted means; β by their difference",
    numbers="negatives as any number; padding counts as zeros; d = 0 where x_k and m are both 0; ±inf and NaN give NaN",
    departs="the authors learn one β for each place of the output, which ties the operator to one size of map",
)
class AdaPool(Local):
    """A learned blend of two means, by likeness to the plain mean m and by size: (N, C, H, W) to (N, C, H', W').

    β starts at `beta`, for the whole layer or each channel (`per_channel`), and is kept between 0 and 1 by a sigmoid.

    >>> import torch
    >>> AdaPool(1)(torch.full((1, 1, 2, 2), 3.)).item()
    3.0
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        beta: float = 0.5,
        per_channel: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        if not 0 < beta < 1:
            raise ValueError(f"beta must lie between 0 and 1, got {beta}")
        start = torch.full((channels if per_channel else 1, 1, 1), beta)
        self.logit = nn.Parameter(start.logit())

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"β": wide(self.logit).sigmoid()}

    def forward(self, x: Tensor) -> Tensor:
        return learned("adapool", x, self.window, self.learned["β"][None, None], partial(_adaptive, self.window))


def _adaptive(window: Window, x: Tensor, numbers: Tensor) -> Tensor:
    values = [value.contiguous(memory_format=layout(x)) for value in window.split(wide(x))]
    mean = reduce(torch.add, values) / len(values)
    alike = weighted(values, [_likeness(value, mean) for value in values])
    (beta,) = numbers
    mixture = beta * alike + (1 - beta) * weighted(values, values)
    return mixture.to(x.dtype).contiguous(memory_format=layout(x))


def _likeness(one: Tensor, other: Tensor) -> Tensor:
    """The Dice-Sørensen coefficient 2 |a b| / (a² + b²), 0 of two zeros.

    Both may be divided by any number, so by the larger of them, and for the gradient that number counts as fixed.
    """
    tiny = torch.finfo(one.dtype).tiny
    scale = torch.maximum(one.abs(), other.abs()).detach().clamp(min=tiny)
    one, other = one / scale, other / scale
    return 2 * (one * other).abs() / (one.square() + other.square() + tiny)


@register(
    "ordinal",
    "local",
    title="Ordinal pooling",
    formula="y = Σ_r w_r x_(r), x_(1) ≥ ... ≥ x_(k²) the sorted window, w = softmax(ω)",
    paper=Paper(
        "Deliège, Istasse, Kumar, De Vleeschouwer, Van Droogenbroeck",
        2021,
        "Ordinal pooling",
        "https://arxiv.org/abs/2109.01561",
    ),
    gradient="w_r to the position of rank r; of equal values the first ranks higher",
    numbers="negatives as any number; padding counts as zeros; NaN and ±inf spread to their windows",
)
class Ordinal(Local):
    """The sorted values of each window under learned weights: (N, C, H, W) to (N, C, H', W').

    Each channel has its own weights (`per_channel`), or all share them. They start equal, as average pooling.

    >>> import torch
    >>> Ordinal(1)(torch.tensor([[[[1., 5.], [0., 2.]]]])).item()
    2.0
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        per_channel: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        rows, columns = self.window.kernel
        self.logits = nn.Parameter(torch.zeros(rows * columns, channels if per_channel else 1, 1, 1))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {f"w{rank}": weight for rank, weight in enumerate(wide(self.logits).softmax(0), 1)}

    def forward(self, x: Tensor) -> Tensor:
        weights = wide(self.logits).softmax(0)[:, None]
        return learned("ordinal", x, self.window, weights, partial(_ranked, self.window))


def _ranked(window: Window, x: Tensor, weights: Tensor) -> Tensor:
    ordered = window.split(wide(x))
    for high, low in exchanges(len(ordered)):
        one, other = ordered[high], ordered[low]
        rises = one < other
        ordered[high], ordered[low] = torch.where(rises, other, one), torch.where(rises, one, other)
    total = reduce(torch.add, (weight * value for weight, value in zip(weights, ordered, strict=True)))
    return total.to(x.dtype).contiguous(memory_format=layout(x))
