"""Token operators: a sequence (N, 1 + L, C), its class token first, to one vector a picture."""

import torch
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.heads import MAP, MAP_FACTS, OQUAB, SIMPOOL_FACTS, SimPool
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import wide

VIT = Paper(
    "Dosovitskiy et al.",
    2021,
    "An image is worth 16x16 words: transformers for image recognition at scale",
    "https://arxiv.org/abs/2010.11929",
)
ORDERS = ("norm_mean", "mean_norm")


def mean(x: Tensor) -> Tensor:
    """The mean of all tokens but the class token: (N, 1 + L, C) to (N, C)."""
    return wide(x[:, 1:]).mean(1).to(x.dtype)


@register(
    "cls",
    "token",
    title="Class token",
    formula="y = x_0",
    paper=VIT,
    gradient="all of it to the class token",
    numbers="copies",
    shape="(N, C)",
)
class ClassToken(nn.Module):
    """The class token alone, which gathered what it needs in the network: (N, 1 + L, C) to (N, C).

    >>> import torch
    >>> ClassToken()(torch.rand(2, 1 + 49, 8)).shape
    torch.Size([2, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0]


@register(
    "token_gap",
    "token",
    title="Mean of the tokens, with a layer norm",
    formula="y = 1/L Σ_k LN(x_k), or y = LN(1/L Σ_k x_k); the class token is left out",
    paper=Paper(
        "Beyer, Zhai, Kolesnikov",
        2022,
        "Better plain ViT baselines for ImageNet-1k",
        "https://arxiv.org/abs/2205.01580",
    ),
    gradient="an equal share to every token, through the layer norm",
    numbers="negatives as any number; NaN or ±inf gives NaN",
    shape="(N, C)",
    departs="big_vision is norm_mean, timm mean_norm",
)
class TokenAverage(nn.Module):
    """Layer norm, then the mean of the tokens (`norm_mean`), or the reverse (`mean_norm`): (N, 1 + L, C) to (N, C).

    >>> import torch
    >>> TokenAverage(8)(torch.rand(2, 1 + 49, 8)).shape
    torch.Size([2, 8])
    """

    def __init__(self, channels: int, order: str = "norm_mean") -> None:
        super().__init__()
        if order not in ORDERS:
            raise unknown("order", order, ORDERS)
        self.order = order
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return (mean(self.norm(x)) if self.order == "norm_mean" else self.norm(mean(x))).to(x.dtype)

    def extra_repr(self) -> str:
        return f"order={self.order!r}"


@register(
    "token_gmp",
    "token",
    title="Maximum of the tokens",
    formula="y_c = max_k x_kc; the class token is left out",
    paper=OQUAB,
    gradient="all of it to the first maximum of each channel",
    numbers="negatives as any number; NaN wins",
    shape="(N, C)",
)
class TokenMax(nn.Module):
    """The largest value of each channel over the tokens: (N, 1 + L, C) to (N, C).

    >>> import torch
    >>> TokenMax()(torch.tensor([[[9.], [1.], [3.]]])).item()
    3.0
    """

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 1:].max(1).values


@register("token_map", "token", title="Multihead attention pooling (MAP) of tokens", **MAP_FACTS)
class TokenMAP(MAP):
    """MAP over all tokens but the class token: (N, 1 + L, C) to (N, C); `attention(x)` gives (N, heads, L).

    >>> import torch
    >>> TokenMAP(8, heads=2).attention(torch.rand(3, 1 + 49, 8)).shape
    torch.Size([3, 2, 49])
    """


@register("token_simpool", "token", title="SimPool of tokens", **SIMPOOL_FACTS)
class TokenSimPool(SimPool):
    """SimPool over all tokens but the class token: (N, 1 + L, C) to (N, C); `attention(x)` gives (N, 1, L).

    >>> import torch
    >>> TokenSimPool(8).attention(torch.rand(3, 1 + 49, 8)).shape
    torch.Size([3, 1, 49])
    """

    def __init__(self, channels: int, gamma: float = 1.25) -> None:
        super().__init__(channels, gamma)


@register(
    "cls_gap",
    "token",
    title="Class token and mean of the tokens",
    formula="y = (x_0, 1/L Σ_k x_k)",
    paper=Paper(
        "Oquab et al.",
        2024,
        "DINOv2: learning robust visual features without supervision",
        "https://arxiv.org/abs/2304.07193",
    ),
    gradient="to the class token its own, to every other token an equal share",
    numbers="linear; NaN and ±inf spread to their channel",
    shape="(N, 2C)",
)
class ClassTokenAverage(nn.Module):
    """The class token and the mean of the others, concatenated: (N, 1 + L, C) to (N, 2C).

    >>> import torch
    >>> ClassTokenAverage()(torch.rand(2, 1 + 49, 8)).shape
    torch.Size([2, 16])
    """

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x[:, 0], mean(x)], 1)
