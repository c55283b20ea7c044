"""Context operators: what surrounds a position, at many scales, beside it: (N, C, H, W) to (N, C_out, H, W)."""

import torch
from torch import Tensor, nn

from poolbench.pooling.adaptive import AdaptiveAverage
from poolbench.pooling.fixed import Max
from poolbench.pooling.heads import GlobalAverage
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import full_precision, layout, wide


class Norm(nn.BatchNorm2d):
    """Batch norm; in training, ValueError where a channel has one value, and so no spread to divide by."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            raise ValueError(
                "batch norm in training needs two values a channel, and the mean of one picture is one: give two "
                "pictures a batch, or put the operator into evaluation mode"
            )
        return super().forward(x)


def convolution(
    inputs: int, outputs: int, kernel_size: int = 1, rate: int = 1, activation: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """A convolution that keeps the size of the map, batch norm, activation."""
    padding = rate * (kernel_size // 2)
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel_size, padding=padding, dilation=rate, bias=False),
        Norm(outputs),
        activation(),
    )


def check(name: str, values: tuple[int, ...]) -> None:
    """Raise ValueError unless all values of the option of this name are at least 1."""
    if not values or min(values) < 1:
        raise ValueError(f"{name} must be at least 1, got {', '.join(map(str, values)) or 'none'}")


@register(
    "aspp",
    "context",
    title="Atrous spatial pyramid pooling (ASPP)",
    formula="y = project(1x1, 3x3 at each rate, mean of the map), every branch convolution, batch norm, ReLU",
    paper=Paper(
        "Chen, Papandreou, Schroff, Adam",
        2017,
        "Rethinking atrous convolution for semantic image segmentation",
        "https://arxiv.org/abs/1706.05587",
    ),
    gradient="by autograd, through every branch",
    numbers="negatives as any number; NaN and ±inf reach every position, through the mean",
    shape="(N, out_channels, H, W)",
    departs="torchvision's rates are 12, 24, 36 (output stride 8) and it adds dropout of 0.5 to the projection",
)
class ASPP(nn.Module):
    """Dilated convolutions at many rates beside the mean of the map: (N, C, H, W) to (N, out_channels, H, W).

    The rates are those for output stride 16; double them at 8. Training on one picture a batch is a ValueError: batch
    norm finds no spread in its mean.

    >>> import torch
    >>> ASPP(8, out_channels=16).eval()(torch.rand(1, 8, 28, 28)).shape
    torch.Size([1, 16, 28, 28])
    """

    def __init__(self, channels: int, out_channels: int = 256, rates: tuple[int, ...] = (6, 12, 18)) -> None:
        super().__init__()
        check("out_channels", (out_channels,))
        check("rates", rates)
        self.branches = nn.ModuleList(
            [
                convolution(channels, out_channels),
                *(convolution(channels, out_channels, kernel_size=3, rate=rate) for rate in rates),
            ]
        )
        self.mean, self.image = GlobalAverage(), convolution(channels, out_channels)
        self.project = convolution((len(rates) + 2) * out_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        near = [branch(x) for branch in self.branches]
        image = self.image(self.mean(x)[:, :, None, None]).expand_as(near[0])
        return self.project(torch.cat([*near, image], 1)).contiguous(memory_format=layout(x))


def corners(cells: int, length: int, like: Tensor) -> Tensor:
    """What each of `cells` values weighs at each of `length` positions, the outermost at the corners: bilinear, 1-D.

    >>> corners(2, 3, torch.empty(0)).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    position = torch.linspace(0, cells - 1, length, device=like.device, dtype=like.dtype)
    return (1 - (position[:, None] - torch.arange(cells, device=like.device)).abs()).clamp(min=0)


def upsample(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear, corners aligned: (N, C, h, w) to (N, C, height, width); deterministic, unlike torch's on a GPU."""
    with full_precision(x):
        grid = wide(x)
        rows, columns = corners(x.shape[2], height, grid), corners(x.shape[3], width, grid)
        return (rows @ grid @ columns.T).to(x.dtype)


@register(
    "ppm",
    "context",
    title="Pyramid pooling module (PSPNet)",
    formula="y = (x, and for every n of the levels the means of n x n bins, 1x1 convolved, upsampled)",
    paper=Paper("Zhao, Shi, Qi, Wang, Jia", 2017, "Pyramid scene parsing network", "https://arxiv.org/abs/1612.01105"),
    gradient="by autograd: to every position its own, and an equal share of each of its bins",
    numbers="negatives as any number; NaN and ±inf reach every position, through the bins",
    shape="(N, C + levels · ⌊C / levels⌋, H, W)",
)
class PyramidPooling(nn.Module):
    """The map, and beside it the means of coarse grids of it: (N, C, H, W) to (N, C + levels · ⌊C / levels⌋, H, W).

    Training on one picture a batch is a ValueError: batch norm finds no spread in its single bin.

    >>> import torch
    >>> PyramidPooling(8).eval()(torch.rand(1, 8, 28, 28)).shape
    torch.Size([1, 16, 28, 28])
    """

    def __init__(self, channels: int, levels: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        check("levels", levels)
        if channels < len(levels):
            raise ValueError(f"levels must be no more than the {channels} channels, got {len(levels)}")
        self.levels = nn.ModuleList(
            nn.Sequential(AdaptiveAverage(level), convolution(channels, channels // len(levels))) for level in levels
        )

    def forward(self, x: Tensor) -> Tensor:
        coarse = [upsample(level(x), *x.shape[2:]) for level in self.levels]
        return torch.cat([x, *coarse], 1).contiguous(memory_format=layout(x))


@register(
    "sppf",
    "context",
    title="Spatial pyramid pooling, fast (SPPF)",
    formula="y = project(z, m(z), m(m(z)), m(m(m(z)))), z = 1x1 convolution of x, m = max over k x k at stride 1",
    paper=Paper("Jocher", 2020, "YOLOv5", "https://github.com/ultralytics/yolov5"),
    gradient="by autograd; of each maximum, all of it to the first",
    numbers="negatives as any number; NaN wins within the reach of the windows, -inf only where all are",
    shape="(N, out_channels, H, W)",
)
class SPPF(nn.Module):
    """Maxima over windows of k, 2k - 1 and 3k - 2 pixels, one after the other: (N, C, H, W) to (N, out_channels, H, W).

    `out_channels` are as many as come in unless given.

    >>> import torch
    >>> SPPF(8).eval()(torch.rand(1, 8, 28, 28)).shape
    torch.Size([1, 8, 28, 28])
    """

    def __init__(self, channels: int, out_channels: int | None = None, kernel_size: int = 5) -> None:
        super().__init__()
        outputs = channels if out_channels is None else out_channels
        check("out_channels", (outputs,))
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and at least 1, got {kernel_size}")
        hidden = max(channels // 2, 1)
        self.reduce = convolution(channels, hidden, activation=nn.SiLU)
        self.maximum = Max(kernel_size, 1, kernel_size // 2)
        self.project = convolution(4 * hidden, outputs, activation=nn.SiLU)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.reduce(x)]
        for _ in range(3):
            maps.append(self.maximum(maps[-1]))
        return self.project(torch.cat(maps, 1)).contiguous(memory_format=layout(x))
