"""Local operators between max and average pooling: mixed, gated, and trees of filters."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.fixed import Average, maximum
from poolbench.pooling.native import learned, slide
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, Window, full_precision, layout, wide

LEE = Paper(
    "Lee, Gallagher, Tu",
    2016,
    "Generalizing pooling functions in convolutional neural networks: mixed, gated, and tree",
    "https://arxiv.org/abs/1509.08985",
)
LEARNED = ("no", "layer", "channel")


def blend(share: float | Tensor, one: Tensor, other: Tensor, x: Tensor) -> Tensor:
    """share · one + (1 - share) · other, in the dtype and the layout of `x`."""
    mixture = share * wide(one) + (1 - share) * wide(other)
    return mixture.to(x.dtype).contiguous(memory_format=layout(x))


def responses(x: Tensor, filters: Tensor, window: Window) -> tuple[Tensor, ...]:
    """Σ_k v_k x_k of each window for each filter v: (N, C, H, W) and (M, 1 or C, k, k) to M times (N, C, H', W')."""
    number, channels = len(filters), x.shape[1]
    with full_precision(x):
        padded = window.pad(wide(x), 0)
        weight = filters.to(padded.dtype).expand(-1, channels, -1, -1).transpose(0, 1).reshape(-1, 1, *window.kernel)
        maps = F.conv2d(padded, weight, stride=window.stride, groups=channels)
    return maps.unflatten(1, (channels, number)).unbind(2)


@register(
    "mixed",
    "local",
    title="Mixed pooling",
    formula="y = w max_k x_k + (1 - w)/k² Σ_k x_k",
    paper=LEE,
    gradient="an equal share of 1 - w to every position, w to the first maximum; w by max - average",
    numbers="negatives as any number; NaN and ±inf spread to their windows, where w · ∞ at w = 0 or 1 is NaN",
)
class Mixed(Local):
    """Max and average pooling in a fixed or a learned proportion: (N, C, H, W) to (N, C, H', W').

    `weight` is the share of the maximum, from 0 to 1: fixed if `learned` is "no", else where a weight for the whole
    "layer" or for each "channel" starts, kept between 0 and 1 by a sigmoid.

    >>> import torch
    >>> Mixed(1, weight=0.25)(torch.tensor([[[[1., 5.], [0., 2.]]]])).item()
    2.75
    """

    logit: nn.Parameter | None

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        weight: float = 0.5,
        learned: str = "no",
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.average = Average(kernel_size, stride, padding, ceil_mode)
        if learned not in LEARNED:
            raise unknown("learned", learned, LEARNED)
        if not 0 <= weight <= 1:
            raise ValueError(f"weight must be from 0 to 1, got {weight}")
        self.weight, self.logit = weight, None
        if learned != "no":
            if weight in (0, 1):
                raise ValueError(f"weight must lie between 0 and 1 where it is learned, got {weight}")
            start = math.log(weight / (1 - weight))
            self.logit = nn.Parameter(torch.full((channels if learned == "channel" else 1, 1, 1), start))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {} if self.logit is None else {"w": wide(self.logit).sigmoid()}

    def forward(self, x: Tensor) -> Tensor:
        if self.logit is None:
            return slide("mixed", x, self.window, lambda x: self._blend(self.weight, x), self.weight)
        return self._blend(self.learned["w"], x)

    def _blend(self, share: float | Tensor, x: Tensor) -> Tensor:
        return blend(share, maximum(x, self.window), self.average(x), x)


@register(
    "gated",
    "local",
    title="Gated max-average pooling",
    formula="y = g max_k x_k + (1 - g)/k² Σ_k x_k, g = σ(Σ_k ω_k x_k)",
    paper=LEE,
    gradient="as mixed with w = g, and that of the gate: ω_k g (1 - g) (max - average)",
    numbers="negatives as any number; NaN and ±inf make their windows NaN or ±inf",
)
class Gated(Local):
    """Max and average pooling in a proportion that each window's own content decides: (N, C, H, W) to (N, C, H', W').

    One mask ω as large as the window for all channels, or one each (`per_channel`). It starts at zero: half and half.

    >>> import torch
    >>> Gated(1)(torch.tensor([[[[1., 5.], [0., 2.]]]])).item()
    3.5
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        per_channel: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.average = Average(kernel_size, stride, padding)
        self.mask = nn.Parameter(torch.zeros(channels if per_channel else 1, *self.window.kernel))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"ω": self.mask}

    def forward(self, x: Tensor) -> Tensor:
        mask = wide(self.mask).flatten(1).t()[:, None, :, None, None]
        return learned("gated", x, self.window, mask, self._blend)

    def _blend(self, x: Tensor, mask: Tensor) -> Tensor:
        filters = mask[:, 0, :, 0, 0].t().unflatten(1, self.window.kernel)
        (gate,) = responses(x, filters[None], self.window)
        return blend(gate.sigmoid(), maximum(x, self.window), self.average(x), x)


@register(
    "tree",
    "local",
    title="Tree pooling",
    formula="leaf: f = Σ_k v_k x_k; node: f = g f_left + (1 - g) f_right, g = σ(Σ_k ω_k x_k); y = f of the root",
    paper=LEE,
    gradient="that of the filters and the gates",
    numbers="negatives as any number; an all-zero window gives 0; NaN and ±inf make their windows NaN or ±inf",
)
class Tree(Local):
    """Learned filters as large as the window, blended by a tree of learned gates: (N, C, H, W) to (N, C, H', W').

    A tree of `levels` has 2^(levels - 1) filters and a gate fewer, shared by all channels or each with its own
    (`per_channel`). Filters start as random means of the window, gates half open.

    >>> import torch
    >>> Tree(8, levels=3)(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        levels: int = 2,
        per_channel: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        if not 1 <= levels <= 8:
            raise ValueError(f"levels must be from 1 to 8, got {levels}")
        rows, columns = self.window.kernel
        size = channels if per_channel else 1, rows, columns
        leaves = 2 ** (levels - 1)
        self.leaves = nn.Parameter(torch.rand(leaves, *size) * 2 / (rows * columns))
        self.gates = nn.Parameter(torch.zeros(leaves - 1, *size))

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"v": self.leaves, **({"ω": self.gates} if len(self.gates) else {})}

    def forward(self, x: Tensor) -> Tensor:
        self.window.shape(*x.shape[-2:])
        maps = responses(x, torch.cat([self.leaves, self.gates]), self.window)
        nodes, gates = maps[: len(self.leaves)], maps[len(self.leaves) :]
        while len(nodes) > 1:
            parents = len(nodes) // 2
            level = gates[parents - 1 : 2 * parents - 1]
            nodes = tuple(
                gate.sigmoid() * left + (1 - gate.sigmoid()) * right
                for gate, left, right in zip(level, nodes[::2], nodes[1::2], strict=True)
            )
        return nodes[0].to(x.dtype).contiguous(memory_format=layout(x))
