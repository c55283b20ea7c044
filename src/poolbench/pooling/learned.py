"""Local operators with weights of their own."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.norms import power_mean
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, layout, wide


@register(
    "strided",
    "local",
    title="Strided convolution",
    formula="y = W * x + b at stride s",
    paper=Paper(
        "Springenberg, Dosovitskiy, Brox, Riedmiller",
        2015,
        "Striving for simplicity: the all convolutional net",
        "https://arxiv.org/abs/1412.6806",
    ),
    gradient="that of a convolution",
    numbers="linear; NaN and ±inf spread to their windows",
)
class Strided(Local):
    """A convolution at a stride in place of pooling, dense or one filter a channel: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Strided(8)(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 3,
        stride: Size | None = 2,
        padding: Padding = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        groups = channels if depthwise else 1
        kernel, step, border = self.window.kernel, self.window.stride, self.window.padding
        self.convolution = nn.Conv2d(channels, channels, kernel, step, border or 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        self.window.shape(*x.shape[-2:])
        y = self.convolution(self.window.pad(x, 0) if self.window.padding is None else x)
        return y.contiguous(memory_format=layout(x))  # of float64 a GPU's comes in NCHW


@register(
    "lp_learned",
    "local",
    title="Lp pooling with learned p",
    formula="y = (1/k² Σ_k |x_k|^p)^(1/p), p = 1 + log(1 + e^ρ)",
    paper=Paper(
        "Gulcehre, Cho, Pascanu, Bengio",
        2014,
        "Learned-norm pooling for deep feedforward and recurrent neural networks",
        "https://arxiv.org/abs/1311.1780",
    ),
    gradient="as lp; p by the derivative of the power mean",
    numbers="as lp",
)
class LearnedLp(Local):
    """The power mean of the magnitudes with a learned exponent above 1: (N, C, H, W) to (N, C, H', W').

    The exponent starts at `p`, one for the layer or one for each channel (`per_channel`).

    >>> import torch
    >>> LearnedLp(1)(torch.full((1, 1, 2, 2), -3.)).item()
    3.0
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
        p: float = 2.0,
        per_channel: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)
        if not 1 < p < math.inf:
            raise ValueError(f"p must be above 1 and finite, got {p}")
        start = math.log(math.expm1(p - 1))
        self.rho = nn.Parameter(torch.full((channels if per_channel else 1, 1, 1), start))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"p": 1 + F.softplus(wide(self.rho))}

    def forward(self, x: Tensor) -> Tensor:
        return power_mean(x, self.learned["p"], self.window)
