"""Local operators that keep one polyphase component of the map, chosen so that a circular shift changes nothing."""

from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from poolbench.pooling.blurred import LowPass, binomial
from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Size, full_precision, layout, pair, wide


class Polyphase(Local):
    """Base of what subsamples at an offset of its own choosing: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    There are s² offsets, row by row. A map whose size the stride does not divide is wrapped around, as on a torus,
    to the next size that it does. The same choice for another map, of a residual branch say:

        choice = pool.choose(x)
        y, shortcut = pool(x, choice), pool(skip, choice)
    """

    def __init__(self, stride: Size, filter_size: int) -> None:
        super().__init__(pair(stride, "stride"))  # cells as large as the stride, which tile the map
        self.low_pass = LowPass(binomial(filter_size), (1, 1), "circular")

    def choose(self, x: Tensor) -> Tensor:
        """The share of each offset in the output: (N, C, H, W) to (N, s²), summing to 1."""
        return self._shares(self._wrapped(x))

    def forward(self, x: Tensor, choice: Tensor | None = None) -> Tensor:
        wrapped = self._wrapped(x)
        shares = self._shares(wrapped) if choice is None else choice
        output = torch.zeros((), dtype=shares.dtype, device=x.device)
        for component, share in zip(self.window.split(wrapped), shares.unbind(1), strict=True):
            share = share[:, None, None, None]
            # A product with 0 would make NaN of an infinite number that was not chosen.
            output = output + torch.where(share != 0, share * component, 0)
        return output.to(x.dtype).contiguous(memory_format=layout(x))

    def _shares(self, wrapped: Tensor) -> Tensor:
        raise NotImplementedError

    def _wrapped(self, x: Tensor) -> Tensor:
        """`x` after the low-pass filter, wrapped to a size that the stride divides."""
        if len(self.low_pass.taps) > 1:
            x = self.low_pass(x)
        for axis, step in zip((2, 3), self.window.stride, strict=True):
            size = x.shape[axis]
            if size % step:
                x = x.index_select(axis, torch.arange(-(-size // step) * step, device=x.device) % size)
        return x


def chosen(scores: Tensor) -> Tensor:
    """1 at the first of the largest scores, 0 elsewhere: (N, s²) to (N, s²)."""
    places = torch.arange(scores.shape[1], device=scores.device)
    return (scores.argmax(1, keepdim=True) == places).to(scores.dtype)


@register(
    "aps",
    "local",
    title="Adaptive polyphase sampling (APS)",
    formula="y = x at offset argmax_ij ‖x_ij‖_p and stride s, x_ij the component at offset (i, j) of all channels",
    paper=Paper(
        "Chaman, Dokmanić",
        2021,
        "Truly shift-invariant convolutional neural networks",
        "https://arxiv.org/abs/2011.14214",
    ),
    gradient="all of it to the component that was kept",
    numbers="copies what it keeps; of equal norms the first; a component with ±inf or NaN is the largest",
    shape="H' = ⌈H / s⌉",
    departs="the authors' code stops at stride 2 and even sizes; exact under circular shift where the stride divides",
)
class APS(Polyphase):
    """The polyphase component of largest norm, one for all channels: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    `p` is that of the norm. With a `filter_size` above 1 the map is blurred first (APS with low-pass filter).

    >>> import torch
    >>> APS()(torch.arange(16.).reshape(1, 1, 4, 4)).flatten().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    def __init__(self, stride: Size = 2, p: float = 2.0, filter_size: int = 1) -> None:
        super().__init__(stride, filter_size)
        if not p > 0:
            raise ValueError(f"p must be above 0, inf allowed, got {p}")
        self.p = float(p)

    def _shares(self, wrapped: Tensor) -> Tensor:
        with torch.no_grad():
            # In float64, since a shift changes the order of the sum, and a rounding must not change the choice.
            magnitude = wrapped.double().abs()
            energy = magnitude.amax(1) if self.p == inf else (magnitude**self.p).sum(1)
            components = self.window.views(energy)
            norms = [part.amax((1, 2)) if self.p == inf else part.sum((1, 2)) for part in components]
            return chosen(torch.stack(norms, 1)).to(wide(wrapped).dtype)


@register(
    "lps",
    "local",
    title="Learned polyphase sampling (LPS)",
    formula="y = x at offset argmax_ij f(x_ij) and stride s; training: Σ_ij z_ij x_ij, z a Gumbel softmax of f(x_ij)",
    paper=Paper(
        "Rojas-Gómez, Lim, Schwing, Do, Yeh",
        2022,
        "Learnable polyphase sampling for shift invariant and equivariant convolutional networks",
        "https://arxiv.org/abs/2210.08001",
    ),
    gradient="training: by the shares, and that of the network; evaluation: all of it to the component that was kept",
    numbers="evaluation copies what it keeps, of equal scores the first; NaN and ±inf reach the scores",
    shape="H' = ⌈H / s⌉",
    departs="the authors' code stops at stride 2; exact under circular shift where the stride divides the size",
    random=True,
)
class LPS(Polyphase):
    """The component that a small network scores highest: (N, C, H, W) to (N, C, ⌈H / s⌉, ⌈W / s⌉).

    The network, one for all components: two circular 3x3 convolutions to `hidden` channels (C unless given) with a ReLU
    between, and the mean. `temperature` is that of the Gumbel softmax in training.

    >>> import torch
    >>> LPS(8).eval()(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        channels: int,
        stride: Size = 2,
        hidden: int | None = None,
        temperature: float = 1.0,
        filter_size: int = 1,
    ) -> None:
        super().__init__(stride, filter_size)
        if hidden is not None and hidden < 1:
            raise ValueError(f"hidden must be at least 1, or None for as many as the channels, got {hidden}")
        if not temperature > 0:
            raise ValueError(f"temperature must be above 0, got {temperature}")
        self.temperature = temperature
        hidden = hidden or channels
        self.first = nn.Parameter(torch.empty(hidden, channels, 3, 3))
        self.second = nn.Parameter(torch.empty(hidden, hidden, 3, 3))
        for weight in (self.first, self.second):
            nn.init.kaiming_uniform_(weight)

    def _shares(self, wrapped: Tensor) -> Tensor:
        components = torch.stack(self.window.split(wide(wrapped)), 1)
        scores = self._score(components.flatten(0, 1)).unflatten(0, components.shape[:2])
        return F.gumbel_softmax(scores, self.temperature) if self.training else chosen(scores.detach())

    def _score(self, x: Tensor) -> Tensor:
        """(M, C, h, w) to (M,), in float32 at least, so that rounding seldom decides."""
        with full_precision(x):
            hidden = F.conv2d(F.pad(x, (1, 1, 1, 1), mode="circular"), self.first.to(x.dtype)).relu()
            return F.conv2d(F.pad(hidden, (1, 1, 1, 1), mode="circular"), self.second.to(x.dtype)).mean((1, 2, 3))
