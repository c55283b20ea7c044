"""Global operators: a map (N, C, H, W) to one vector a picture."""

from torch import Tensor, nn

from poolbench.pooling.registry import Paper, register

NIN = Paper("Lin, Chen, Yan", 2014, "Network in network", "https://arxiv.org/abs/1312.4400")
OQUAB = Paper(
    "Oquab, Bottou, Laptev, Sivic",
    2015,
    "Is object localization for free? Weakly-supervised learning with convolutional neural networks",
    "https://doi.org/10.1109/CVPR.2015.7298668",
)
LENET = Paper(
    "LeCun et al.",
    1998,
    "Gradient-based learning applied to document recognition",
    "https://doi.org/10.1109/5.726791",
)


@register(
    "gap",
    "global",
    title="Global average pooling",
    formula="y_c = 1/HW Σ x_c",
    paper=NIN,
    gradient="an equal share to every position",
    numbers="linear; NaN and ±inf spread to their channel",
    shape="(N, C)",
)
class GlobalAverage(nn.Module):
    """The mean of each channel: (N, C, H, W) to (N, C).

    >>> import torch
    >>> GlobalAverage()(torch.ones(2, 3, 7, 7)).shape
    torch.Size([2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


@register(
    "gmp",
    "global",
    title="Global max pooling",
    formula="y_c = max x_c",
    paper=OQUAB,
    gradient="all of it to the first maximum of each channel",
    numbers="negatives as any number; NaN wins",
    shape="(N, C)",
)
class GlobalMax(nn.Module):
    """The largest value of each channel: (N, C, H, W) to (N, C).

    >>> import torch
    >>> GlobalMax()(torch.ones(2, 3, 7, 7)).shape
    torch.Size([2, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).max(2).values


@register(
    "flatten",
    "global",
    title="Flatten, for a fully connected layer",
    formula="y = (x_1, ..., x_CHW)",
    paper=LENET,
    gradient="each to its own position",
    numbers="copies",
    shape="(N, C·H·W)",
)
class Flatten(nn.Module):
    """Every position kept, the baseline that global pooling replaced: (N, C, H, W) to (N, C·H·W).

    >>> import torch
    >>> Flatten()(torch.ones(2, 3, 7, 7)).shape
    torch.Size([2, 147])
    """

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must be at least 0 and below 1, got {dropout}")
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(x.flatten(1))
