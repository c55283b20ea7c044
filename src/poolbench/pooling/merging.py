"""Local operators that move every pixel of a cell into the channels and project them: nothing is left out."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import layout

SWIN = Paper(
    "Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo",
    2021,
    "Swin Transformer: hierarchical vision transformer using shifted windows",
    "https://arxiv.org/abs/2103.14030",
)
SWIN_V2 = Paper(
    "Liu, Hu, Lin, Yao, Xie, Wei, Ning, Cao, Zhang, Dong, Wei, Guo",
    2022,
    "Swin Transformer V2: scaling up capacity and resolution",
    "https://arxiv.org/abs/2111.09883",
)


def projected(channels: int, out_channels: int | None) -> int:
    """The number of channels that come out: as many as go in, unless the user says otherwise."""
    if out_channels is not None and out_channels < 1:
        raise ValueError(f"out_channels must be at least 1, or None for as many as go in, got {out_channels}")
    return out_channels or channels


@register(
    "space_to_depth",
    "local",
    title="Space-to-depth and projection",
    formula="y = W (x_1, ..., x_s²) + b over the pixels of an s x s cell",
    paper=Paper(
        "Sunkara, Luo",
        2022,
        "No more strided convolutions or pooling: a new CNN building block for low-resolution images and small objects",
        "https://arxiv.org/abs/2208.03641",
    ),
    gradient="that of a linear map",
    numbers="linear; NaN and ±inf spread to their cells",
    shape="H' = ⌊H / s⌋",
    departs="the paper follows with a 3x3 convolution; the plain projection of the cell is kept here",
)
class SpaceToDepth(nn.Module):
    """The pixels of each cell stacked as channels, then projected: (N, C, H, W) to (N, out_channels, H', W').

    `out_channels` is C unless given. Rows and columns that fill no cell are dropped.

    >>> import torch
    >>> SpaceToDepth(8)(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(self, channels: int, stride: int = 2, out_channels: int | None = None) -> None:
        super().__init__()
        if stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.stride = stride
        # To stack the pixels of a cell and project them is a convolution of the cell: nothing need be copied.
        self.projection = nn.Conv2d(channels, projected(channels, out_channels), stride, stride)

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < self.stride:
            raise ValueError(f"the map must hold a cell of {self.stride} x {self.stride}, got {tuple(x.shape[-2:])}")
        return self.projection(x).contiguous(memory_format=layout(x))


class PatchMerging(nn.Module):
    """The four pixels of each 2x2 cell stacked as channels, by columns, after the map is filled up to even size."""

    def __init__(self, channels: int, out_channels: int | None, normalised: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(normalised)
        self.reduction = nn.Linear(4 * channels, projected(channels, out_channels), bias=False)

    @staticmethod
    def cells(x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, ⌈H / 2⌉, ⌈W / 2⌉, 4C)."""
        height, width = x.shape[-2:]
        last = F.pad(x, (0, width % 2, 0, height % 2)).permute(0, 2, 3, 1)
        return torch.cat([last[:, row::2, column::2] for column in (0, 1) for row in (0, 1)], -1)


@register(
    "patch_merging",
    "local",
    title="Patch merging (Swin)",
    formula="y = W LN(x_00, x_10, x_01, x_11)",
    paper=SWIN,
    gradient="that of the linear map and the norm",
    numbers="an all-zero cell gives W b, b the shift of the norm; NaN and ±inf make their cell NaN",
    shape="H' = ⌈H / 2⌉",
    departs="Swin's own doubles the channels: out_channels=2·C",
)
class PatchMergingV1(PatchMerging):
    """Swin's downsampling, norm then projection: (N, C, H, W) to (N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉).

    `out_channels` is C unless given, so that the operator fits any slot. Odd maps are filled up with zeros.

    >>> import torch
    >>> PatchMergingV1(8, out_channels=16)(torch.zeros(1, 8, 7, 7)).shape
    torch.Size([1, 16, 4, 4])
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__(channels, out_channels, 4 * channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.reduction(self.norm(self.cells(x)))
        return y.permute(0, 3, 1, 2).to(x.dtype).contiguous(memory_format=layout(x))


@register(
    "patch_merging_v2",
    "local",
    title="Patch merging (Swin V2)",
    formula="y = LN(W (x_00, x_10, x_01, x_11))",
    paper=SWIN_V2,
    gradient="that of the norm and the linear map",
    numbers="an all-zero cell gives the shift of the norm; NaN and ±inf make their cell NaN",
    shape="H' = ⌈H / 2⌉",
    departs="Swin's own doubles the channels: out_channels=2·C",
)
class PatchMergingV2(PatchMerging):
    """Swin V2's downsampling, projection then norm: (N, C, H, W) to (N, out_channels, ⌈H / 2⌉, ⌈W / 2⌉).

    `out_channels` is C unless given, so that the operator fits any slot. Odd maps are filled up with zeros.

    >>> import torch
    >>> PatchMergingV2(8, out_channels=16)(torch.zeros(1, 8, 7, 7)).shape
    torch.Size([1, 16, 4, 4])
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__(channels, out_channels, projected(channels, out_channels))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.reduction(self.cells(x)))
        return y.permute(0, 3, 1, 2).to(x.dtype).contiguous(memory_format=layout(x))
