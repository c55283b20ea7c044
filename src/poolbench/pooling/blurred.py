"""Anti-aliased local operators: a binomial low-pass filter before the stride."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling import native
from poolbench.pooling.fixed import Average, Max
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, full_precision, layout, pair, wide

ZHANG = Paper("Zhang", 2019, "Making convolutional networks shift-invariant again", "https://arxiv.org/abs/1904.11486")
BORDERS = {"reflect": "reflect", "replicate": "replicate", "circular": "circular", "zero": "constant"}
"""Borders by name, and what torch calls them."""


def binomial(size: int) -> Tensor:
    """The binomial filter of 1 to 7 taps, summing to 1: rows of Pascal's triangle.

    >>> binomial(3).tolist()
    [0.25, 0.5, 0.25]
    """
    if not 1 <= size <= 7:
        raise ValueError(f"filter_size must be from 1 to 7, got {size}")
    row = [1.0]
    for _ in range(size - 1):
        row = [1.0, *(left + right for left, right in pairwise(row)), 1.0]
    return torch.tensor(row) / 2 ** (size - 1)


def surround(x: Tensor, axis: int, before: int, after: int, border: str) -> Tensor:
    """`x` with so many positions more at each end of an axis; however small, a map is folded or wrapped on and on.

    >>> surround(torch.tensor([[[[1, 2, 3]]]]), 3, 3, 2, "reflect").tolist()
    [[[[2, 3, 2, 1, 2, 3, 2, 1]]]]
    """
    if before + after == 0:
        return x
    size = x.shape[axis]
    places = torch.cat([torch.arange(-before, 0, device=x.device), torch.arange(size, size + after, device=x.device)])
    if border == "circular":
        source = places % size
    elif border == "reflect":
        period = max(2 * (size - 1), 1)
        source = torch.minimum(places % period, -places % period)
    else:
        source = places.clamp(0, size - 1)
    added = x.index_select(axis, source).contiguous(memory_format=layout(x))
    if border == "zero":
        added = torch.zeros_like(added)
    parts = [added.narrow(axis, 0, before), x, added.narrow(axis, before, after)]
    return torch.cat([part for part in parts if part.shape[axis]], axis)


class LowPass(nn.Module):
    """A separable filter, then a stride: H to ⌊(H - 1) / s⌋ + 1 whatever the filter's size."""

    taps: Tensor

    def __init__(self, taps: Tensor, stride: tuple[int, int], border: str) -> None:
        super().__init__()
        if min(stride) < 1:
            raise ValueError(f"stride must be at least 1, got {min(stride)}")
        if border not in BORDERS:
            raise unknown("border", border, BORDERS)
        self.stride, self.border = stride, border
        self.register_buffer("taps", taps, persistent=False)

    def extra_repr(self) -> str:
        return f"taps={len(self.taps)}, stride={self.stride}, border={self.border!r}"

    def forward(self, x: Tensor) -> Tensor:
        return self.by(self.taps, x)

    def by(self, taps: Tensor, x: Tensor) -> Tensor:
        """The same by other taps."""
        return native.blurred("blur", x, native.PIXEL, taps, self.stride, self.border, self._formula)

    def _formula(self, x: Tensor, taps: Tensor) -> Tensor:
        size, channels = len(taps), x.shape[1]
        # Depthwise convolution in bfloat16 is ten times slower than in float32 on a CPU.
        with full_precision(x):
            padded = self._pad(wide(x), (size - 1) // 2, size // 2)
            weight = torch.outer(taps, taps).to(padded.dtype).expand(channels, 1, size, size)
            return F.conv2d(padded, weight, stride=self.stride, groups=channels).to(x.dtype, memory_format=layout(x))

    def _pad(self, x: Tensor, before: int, after: int) -> Tensor:
        # torch's own padding is faster, but takes no map that is smaller, and no deterministic backward on a GPU.
        if max(before, after) < min(x.shape[-2:]) and not torch.are_deterministic_algorithms_enabled():
            return F.pad(x, (before, after, before, after), BORDERS[self.border])
        for axis in (2, 3):
            x = surround(x, axis, before, after, self.border)
        return x


@register(
    "blur",
    "local",
    title="Blur (conv-blur)",
    formula="y = (b ⊗ b * x) at stride s, b binomial",
    paper=ZHANG,
    gradient="spread by the filter, transposed",
    numbers="linear; NaN and ±inf spread to the filter's reach",
    shape="H' = ⌊(H - 1) / s⌋ + 1",
    departs="timm turns 32 into 17 with filters of even size: here every size keeps the law",
)
class Blur(nn.Module):
    """A binomial blur at a stride, for a place after convolution and ReLU: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Blur()(torch.ones(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(self, filter_size: int = 3, stride: Size = 2, border: str = "reflect") -> None:
        super().__init__()
        self.low_pass = LowPass(binomial(filter_size), pair(stride, "stride"), border)

    def forward(self, x: Tensor) -> Tensor:
        return self.low_pass(x)


class Blurred(Local):
    """`dense`, an operator slid at stride 1, then a blur at the stride; keeps the shape law of its window."""

    name: str
    dense_type: type[Local]

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        filter_size: int = 3,
        border: str = "reflect",
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        self.dense = self.dense_type(kernel_size, 1, padding)
        # To look for it in a module would take a part of the time that a small map does.
        self.dense_window = self.dense.window
        self.low_pass = LowPass(binomial(filter_size), self.window.stride, border)

    def forward(self, x: Tensor) -> Tensor:
        low_pass = self.low_pass
        return native.blurred(
            self.name, x, self.dense_window, low_pass.taps, low_pass.stride, low_pass.border, self._formula
        )

    def _formula(self, x: Tensor, taps: Tensor) -> Tensor:
        return self.low_pass.by(taps, self.dense(x))


@register(
    "max_blur",
    "local",
    title="Max-blur pooling",
    formula="y = (b ⊗ b * m) at stride s, m the maximum of each window at stride 1",
    paper=ZHANG,
    gradient="spread by the filter, then all of each share to the first maximum of its window",
    numbers="as max, then as blur",
)
class MaxBlur(Blurred):
    """Max pooling at stride 1, then a binomial blur at the stride: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> MaxBlur()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    name = "max_blur"
    dense_type = Max


@register(
    "average_blur",
    "local",
    title="Average-blur pooling",
    formula="y = (b ⊗ b * m) at stride s, m the mean of each window at stride 1",
    paper=ZHANG,
    gradient="spread by the filter, then by equal shares",
    numbers="linear; NaN and ±inf spread to their reach",
)
class AverageBlur(Blurred):
    """Average pooling at stride 1, then a binomial blur at the stride: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> AverageBlur()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    name = "average_blur"
    dense_type = Average
