"""Local operators that keep a map's low frequencies: wavelet and spectral pooling."""

from functools import cache
from math import sqrt

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.blurred import LowPass, surround
from poolbench.pooling.native import separable
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Size, full_precision, layout, pair, wide

ROOT = sqrt(3)
WAVELETS = {
    "haar": [1 / sqrt(2), 1 / sqrt(2)],
    "db2": [(number) / (4 * sqrt(2)) for number in (1 + ROOT, 3 + ROOT, 3 - ROOT, 1 - ROOT)],
}


@register(
    "wavelet",
    "local",
    title="Wavelet pooling",
    formula="y = the approximation LL of one level of the discrete wavelet transform",
    paper=Paper(
        "Li, Shen, Guo, Lai",
        2020,
        "Wavelet integrated CNNs for noise-robust image classification",
        "https://arxiv.org/abs/2005.03337",
    ),
    gradient="spread by the filter, transposed",
    numbers="linear; NaN and ±inf spread to the filter's reach",
    shape="H' = ⌈H / 2⌉",
)
class Wavelet(nn.Module):
    """The low-pass quarter of an orthonormal wavelet transform: (N, C, H, W) to (N, C, ⌈H / 2⌉, ⌈W / 2⌉).

    `wavelet` is haar (twice the mean of each 2x2 window) or db2; the map is periodic, and one of odd size is repeated
    at its end first, as PyWavelets' periodization has it.

    >>> import torch
    >>> round(Wavelet()(torch.tensor([[[[1., 2.], [4., 3.]]]])).item(), 4)
    5.0
    """

    def __init__(self, wavelet: str = "haar") -> None:
        super().__init__()
        if wavelet not in WAVELETS:
            raise unknown("wavelet", wavelet, WAVELETS)
        self.low_pass = LowPass(torch.tensor(WAVELETS[wavelet], dtype=torch.float64), (2, 2), "circular")

    def forward(self, x: Tensor) -> Tensor:
        for axis in (2, 3):
            x = surround(x, axis, 0, x.shape[axis] % 2, "replicate")
        return self.low_pass(x)


@register(
    "spectral",
    "local",
    title="Spectral pooling",
    formula="y = F⁻¹ crop F x, F the unitary discrete Fourier transform",
    paper=Paper(
        "Rippel, Snoek, Adams",
        2015,
        "Spectral representations for convolutional neural networks",
        "https://arxiv.org/abs/1506.03767",
    ),
    gradient="F⁻¹ pad F of it: the frequencies that were dropped receive nothing",
    numbers="linear; NaN or ±inf makes the whole map NaN",
    shape="H' = ⌊(H - 1) / s⌋ + 1",
    departs="scipy.signal.resample keeps the mean, which is here multiplied by √(H W / H' W'), and adds up the two "
    "aliases at the limit of an even size, of which here the mean is taken",
)
class Spectral(nn.Module):
    """The low frequencies of a map alone: (N, C, H, W) to (N, C, H', W').

    Cropping a Fourier transform is linear and separable, so it is a matrix product along each axis. At the limiting
    frequency of an even size the mean of the two aliases is taken, which keeps the map real.

    >>> import torch
    >>> Spectral()(torch.ones(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(self, stride: Size = 2) -> None:
        super().__init__()
        self.stride = pair(stride, "stride")
        if min(self.stride) < 1:
            raise ValueError(f"stride must be at least 1, got {min(self.stride)}")

    def extra_repr(self) -> str:
        return f"stride={self.stride}"

    def forward(self, x: Tensor) -> Tensor:
        axes = [(size, (size - 1) // stride + 1) for size, stride in zip(x.shape[-2:], self.stride, strict=True)]
        find = crop if torch.compiler.is_compiling() else crop_once
        matrices = {axis: torch.from_numpy(find(*axis)).to(wide(x[:0])) for axis in axes}  # a square map needs one
        rows, columns = (matrices[axis] for axis in axes)
        y = separable(x, rows, columns, lambda x: _multiply(x, rows, columns))
        return y.add(y.detach(), alpha=0)  # an infinite number becomes NaN


def _multiply(x: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Each map multiplied by both matrices, (H', H) and (W', W), in full precision."""
    with full_precision(x):
        high = wide(x)
        if layout(x) == torch.channels_last:  # channels stay neighbours, and nothing is copied
            y = (rows @ high.permute(0, 2, 3, 1).flatten(2)).unflatten(2, (high.shape[3], -1))
            y = (columns @ y).permute(0, 3, 1, 2)
        else:
            y = rows @ (high @ columns.T)
        return y.to(x.dtype, memory_format=layout(x))


def crop(size: int, smaller: int) -> NDArray[np.float64]:
    """The matrix (smaller, size) that transforms, crops the transform and transforms back.

    >>> crop(4, 1).tolist()
    [[0.5, 0.5, 0.5, 0.5]]
    """
    frequency = np.arange(smaller // 2 + 1)
    alone = (frequency == 0) | (2 * frequency == smaller)  # every other frequency has its mirror image
    weight = (2 - alone.astype(np.float64)) / sqrt(size * smaller)
    into, back = (2 * np.pi / n * np.outer(np.arange(n), frequency) for n in (size, smaller))
    return (np.cos(back) * weight) @ np.cos(into).T + (np.sin(back) * weight) @ np.sin(into).T


crop_once = cache(crop)  # torch.compile warns of caches
