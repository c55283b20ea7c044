"""Global operators: a map (N, C, H, W) to one vector a picture."""

from abc import ABC, abstractmethod
from math import inf, log, sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.adaptive import HE, AdaptiveAverage, AdaptiveMax
from poolbench.pooling.native import cells, written
from poolbench.pooling.norms import power
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import full_precision, wide

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
FASTAI = Paper("Howard, Gugger", 2020, "fastai: a layered API for deep learning", "https://arxiv.org/abs/2002.04688")
GULCEHRE = Paper(
    "Gulcehre, Cho, Pascanu, Bengio",
    2014,
    "Learned-norm pooling for deep feedforward and recurrent neural networks",
    "https://arxiv.org/abs/1311.1780",
)
COMBINATIONS = ("concatenate", "sum")
PYRAMIDS = {"max": AdaptiveMax, "average": AdaptiveAverage}


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
        return wide(x).mean((2, 3)).to(x.dtype)


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
        height, width = x.shape[2:]

        def plan() -> tuple[str, str]:
            return written([0, height - 1]), written([0, width - 1])

        return cells(x, height, width, plan, lambda x: F.max_pool2d(x, x.shape[2:])).flatten(1)


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
        self.dropout = dropout

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return F.dropout(flat, self.dropout) if self.dropout and self.training else flat

    def extra_repr(self) -> str:
        return f"dropout={self.dropout}"


@register(
    "gap_gmp",
    "global",
    title="Global average and max pooling",
    formula="y = (mean, max), or y = mean + max",
    paper=FASTAI,
    gradient="an equal share to every position, and besides to the first maximum of each channel",
    numbers="negatives as any number; NaN spreads to its channel",
    shape="(N, 2C), or (N, C) for the sum",
    departs="fastai puts the maximum first; timm halves the sum",
)
class GlobalAverageMax(nn.Module):
    """The mean and the maximum of each channel, concatenated or summed: (N, C, H, W) to (N, 2C) or (N, C).

    >>> import torch
    >>> GlobalAverageMax("sum")(torch.tensor([[[[1., 3.]]]])).item()
    5.0
    """

    def __init__(self, combine: str = "concatenate") -> None:
        super().__init__()
        if combine not in COMBINATIONS:
            raise unknown("combine", combine, COMBINATIONS)
        self.combine = combine
        self.average, self.maximum = GlobalAverage(), GlobalMax()

    def forward(self, x: Tensor) -> Tensor:
        both = self.average(x), self.maximum(x)
        return sum(both) if self.combine == "sum" else torch.cat(both, 1)

    def extra_repr(self) -> str:
        return f"combine={self.combine!r}"


def power_mean(x: Tensor, p: float | Tensor) -> Tensor:
    """(1/L Σ x^p)^(1/p) of numbers that are not negative, without overflow: (N, C, L) to (N, C)."""
    largest = x.amax(2, keepdim=True).detach()  # the mean is the same whatever it is scaled by
    scale = largest.where((largest != 0) & (largest != inf), 1)
    ratio = x / scale
    # No root is taken of a zero, nor a power below 1: its gradient would be infinite.
    root = isinstance(p, float) and p < 1
    powers = (ratio.where(ratio != 0, 1) ** p).where(ratio != 0, 0) if root else ratio**p
    mean = powers.mean(2)
    return scale.squeeze(2) * (mean.where(mean != 0, 1) ** (1 / p)).where(mean != 0, 0)


@register(
    "global_lp",
    "global",
    title="Global Lp pooling",
    formula="y_c = (1/HW Σ |x_c|^p)^(1/p)",
    paper=GULCEHRE,
    gradient="sign(x) (|x| / y)^(p-1) / HW to every position; none to a zero; p = inf: as gmp of |x|",
    numbers="negatives by magnitude; an all-zero channel gives 0 and no gradient; ±inf gives inf; NaN gives NaN",
    shape="(N, C)",
)
class GlobalLp(nn.Module):
    """The power mean of each channel's magnitudes; p = 1 is the mean, p = inf the maximum: (N, C, H, W) to (N, C).

    >>> import torch
    >>> GlobalLp()(torch.tensor([[[[1., -7.], [5., 5.]]]])).item()
    5.0
    """

    def __init__(self, p: float = 2.0) -> None:
        super().__init__()
        self.p = power(p)

    def forward(self, x: Tensor) -> Tensor:
        magnitude = wide(x).abs().flatten(2)
        mean = magnitude.max(2).values if self.p == inf else power_mean(magnitude, self.p)
        return mean.to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


@register(
    "gem",
    "global",
    title="Generalised mean (GeM)",
    formula="y_c = (1/HW Σ max(x_c, ε)^p)^(1/p)",
    paper=Paper(
        "Radenović, Tolias, Chum",
        2018,
        "Fine-tuning CNN image retrieval with no human annotation",
        "https://arxiv.org/abs/1711.02512",
    ),
    gradient="(x / y)^(p-1) / HW to every position above ε; none below; p by its own derivative",
    numbers="what lies below ε counts as ε; +inf gives inf; NaN gives NaN",
    shape="(N, C)",
)
class GeM(nn.Module):
    """The power mean of each channel, p learned or fixed: (N, C, H, W) to (N, C).

    >>> import torch
    >>> GeM(p=1, learned=False)(torch.tensor([[[[1., 5.]]]])).item()
    3.0
    """

    def __init__(self, p: float = 3.0, learned: bool = True, eps: float = 1e-6) -> None:
        super().__init__()
        if not 0 < p < inf:
            raise ValueError(f"p must be above 0 and finite, got {p}")
        if not 0 < eps < inf:
            raise ValueError(f"eps must be above 0 and finite, got {eps}")
        self.p = nn.Parameter(torch.tensor(float(p)), requires_grad=learned)
        self.eps = eps

    @property
    def learned(self) -> dict[str, Tensor]:
        return {"p": self.p} if self.p.requires_grad else {}

    def forward(self, x: Tensor) -> Tensor:
        return power_mean(wide(x).clamp(min=self.eps).flatten(2), wide(self.p)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p.item():g}, learned={self.p.requires_grad}, eps={self.eps}"


@register(
    "lse",
    "global",
    title="Log-sum-exp",
    formula="y_c = 1/r log(1/HW Σ exp(r x_c))",
    paper=Paper(
        "Pinheiro, Collobert",
        2015,
        "From image-level to pixel-level labeling with convolutional networks",
        "https://arxiv.org/abs/1411.6228",
    ),
    gradient="to every position its weight in a softmax of r x",
    numbers="negatives as any number; +inf gives inf, -inf weighs nothing; NaN gives NaN",
    shape="(N, C)",
)
class LogSumExp(nn.Module):
    """Between the mean (r near 0) and the maximum (r large) of each channel: (N, C, H, W) to (N, C).

    >>> import torch
    >>> LogSumExp(r=100)(torch.tensor([[[[0., 1.]]]])).item() > 0.99
    True
    """

    def __init__(self, r: float = 5.0) -> None:
        super().__init__()
        if not 0 < r < inf:
            raise ValueError(f"r must be above 0 and finite, got {r}")
        self.r = r

    def forward(self, x: Tensor) -> Tensor:
        flat = wide(x).flatten(2)
        top = flat.detach().amax(2, keepdim=True)  # the same whatever is counted from; and large numbers keep digits
        top = top.where(top.isfinite(), 0)
        below = torch.logsumexp(self.r * (flat - top), 2) - log(flat.shape[2])
        return (top.squeeze(2) + below / self.r).to(x.dtype)

    def extra_repr(self) -> str:
        return f"r={self.r}"


@register(
    "spp",
    "global",
    title="Spatial pyramid pooling (SPP)",
    formula="y = the maxima, or means, of n x n bins, for every n of the levels",
    paper=HE,
    gradient="as adaptive max or adaptive average, summed over the levels",
    numbers="as adaptive max or adaptive average",
    shape="(N, C Σ n²), whatever H and W",
    departs="He's windows (⌈a / n⌉ at stride ⌊a / n⌋) give 9 bins for n = 6 over a = 10: the bins here are adaptive",
)
class SpatialPyramid(nn.Module):
    """Bins of a pyramid of grids, in one vector whose length no map size changes: (N, C, H, W) to (N, C Σ n²).

    >>> import torch
    >>> SpatialPyramid((1, 2))(torch.zeros(2, 3, 5, 7)).shape
    torch.Size([2, 15])
    """

    def __init__(self, levels: tuple[int, ...] = (1, 2, 4), pool: str = "max") -> None:
        super().__init__()
        if not levels or min(levels) < 1:
            raise ValueError(f"levels must be whole numbers of at least 1, got {levels}")
        if pool not in PYRAMIDS:
            raise unknown("pool", pool, PYRAMIDS)
        self.sizes, self.pool = tuple(levels), pool
        self.levels = nn.ModuleList(PYRAMIDS[pool](level) for level in levels)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([level(x).flatten(1) for level in self.levels], 1)


def positions(x: Tensor) -> Tensor:
    """The positions that attention weighs (N, L, C): those of a map (N, C, H, W), or all tokens but the class token."""
    return x.flatten(2).transpose(1, 2) if x.ndim == 4 else x[:, 1:]


class Attention(nn.Module, ABC):
    """Base of the heads that weigh the positions of a map (N, C, H, W) or of tokens (N, 1 + L, C): to (N, C)."""

    @abstractmethod
    def attend(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        """The weights of the positions of a sequence (N, L, C), as (N, heads, L), and the vector (N, C)."""

    def attention(self, x: Tensor) -> Tensor:
        """Where the head looks, summing to 1: (N, heads, H, W) of a map, (N, heads, L) of tokens (no class token)."""
        weights = self.attend(positions(x))[0]
        return weights.unflatten(2, x.shape[2:]) if x.ndim == 4 else weights

    def forward(self, x: Tensor) -> Tensor:
        return self.attend(positions(x))[1].to(x.dtype)


MAP_FACTS: dict[str, Any] = {
    "formula": "z = W_o (Σ_k a_k W_v x_k), a = softmax(W_q probe · W_k x / √d) for each head; y = z + MLP(LN(z))",
    "paper": Paper(
        "Zhai, Kolesnikov, Houlsby, Beyer", 2022, "Scaling vision transformers", "https://arxiv.org/abs/2106.04560"
    ),
    "gradient": "by autograd, through the values and through the weights",
    "numbers": "negatives as any number; NaN or ±inf gives NaN",
    "shape": "(N, C)",
    "departs": "keys have no bias, which a softmax cancels; timm's AttentionPoolLatent has no LN by default",
}


@register("map", "global", title="Multihead attention pooling (MAP)", **MAP_FACTS)
class MAP(Attention):
    """A learned probe attends over the positions, then x + MLP(LN(x)): (N, C, H, W) to (N, C).

    The probe itself is not added to what it gathers. `attention(x)` gives the attention maps (N, heads, H, W).

    >>> import torch
    >>> MAP(8, heads=2).attention(torch.rand(3, 8, 5, 7)).shape
    torch.Size([3, 2, 5, 7])
    """

    def __init__(self, channels: int, heads: int = 1) -> None:
        super().__init__()
        if heads < 1 or channels % heads:
            raise ValueError(f"heads must divide the {channels} channels, got {heads}")
        self.heads = heads
        self.probe = nn.Parameter(nn.init.xavier_uniform_(torch.empty(1, channels)))
        self.query = nn.Linear(channels, channels)
        self.key = nn.Linear(channels, channels, bias=False)
        self.value = nn.Linear(channels, channels)
        self.output = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU("tanh"), nn.Linear(4 * channels, channels))
        for layer in (self.query, self.key, self.value, self.output, *self.mlp):
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def attend(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        # One query serves every position, so W_k goes to its side; the weights sum to 1, so W_v goes behind the sum:
        # one product for a picture in place of one for each position.
        query, key, value = (
            tensor.unflatten(axis, (self.heads, -1))
            for tensor, axis in ((self.query(self.probe), 1), (self.key.weight, 0), (self.value.weight, 0))
        )
        probe = torch.einsum("nhd,hdc->hc", query, key) / sqrt(query.shape[2])
        weights = wide(torch.einsum("hc,nlc->nhl", probe, sequence)).softmax(2)
        gathered = torch.einsum("nhc,hdc->nhd", weights.to(sequence.dtype) @ sequence, value)
        z = self.output(gathered.flatten(1) + self.value.bias)
        return weights, z + self.mlp(self.norm(z))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"


SIMPOOL_FACTS: dict[str, Any] = {
    "formula": "y = (Σ_k a_k v_k^γ)^(1/γ), v = LN(x) - min LN(x) + ε, a = softmax(W_q mean(x) · W_k LN(x) / √C)",
    "paper": Paper(
        "Psomas, Kakogeorgiou, Karantzalos, Avrithis",
        2023,
        "Keep It SimPool: Who Said Supervised Transformers Suffer from Attention Deficit?",
        "https://arxiv.org/abs/2309.06891",
    ),
    "gradient": "by autograd, through the values, their minimum and the weights",
    "numbers": "negatives as any number; NaN or ±inf gives NaN",
    "shape": "(N, C)",
    "departs": "the minimum is of each picture: the authors' code takes the batch's, timm takes each channel's",
}


@register("simpool", "global", title="SimPool", **SIMPOOL_FACTS)
class SimPool(Attention):
    """The mean of the map attends over its positions, which a power mean gathers: (N, C, H, W) to (N, C).

    `attention(x)` gives the attention map (N, 1, H, W).

    >>> import torch
    >>> SimPool(8).attention(torch.rand(3, 8, 5, 7)).shape
    torch.Size([3, 1, 5, 7])
    """

    def __init__(self, channels: int, gamma: float = 2.0) -> None:
        super().__init__()
        if not 0 < gamma < inf:
            raise ValueError(f"gamma must be above 0 and finite, got {gamma}")
        self.gamma = gamma
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.query = nn.Linear(channels, channels, bias=False)
        self.key = nn.Linear(channels, channels, bias=False)

    def attend(self, sequence: Tensor) -> tuple[Tensor, Tensor]:
        with full_precision(sequence):
            x, norm, channels = wide(sequence), self.norm, sequence.shape[2]
            normed = F.layer_norm(x, (channels,), wide(norm.weight), wide(norm.bias), norm.eps)
            # There is one query, so W_k goes to its side: one product for a picture, not one for each position.
            query = F.linear(x.mean(1, keepdim=True), wide(self.query.weight)) @ wide(self.key.weight)
            weights = (query @ normed.transpose(1, 2) / sqrt(channels)).softmax(2)
            value = normed - normed.amin((1, 2), keepdim=True) + 1e-6
            return weights, (weights @ value**self.gamma).squeeze(1) ** (1 / self.gamma)

    def extra_repr(self) -> str:
        return f"gamma={self.gamma}"
