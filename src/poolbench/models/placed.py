"""What stands in a slot after a swap: an operator, and what fits it to the layers around it."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling.blurred import surround
from poolbench.pooling.polyphase import Polyphase
from poolbench.pooling.window import Window


class Placed(nn.Module):
    """An operator in a slot: it receives the map as it wants it, and the next layer what it expects.

    `axes`: how the slot's input lies, NCHW, NHWC or NLC (tokens that are a map to the operator). `keeps`: the next
    layer wants a vector as a map of 1 x 1. `fitted`: the map is cut, or its edge continued, to whole cells of the
    stride, so that the operator gives a map of the size that `window` gives. `projection` widens what comes out.
    """

    def __init__(
        self,
        operator: nn.Module,
        kind: str,
        takes: pooling.Kind,
        window: Window | None = None,
        axes: str = "NCHW",
        keeps: bool = False,
        fitted: bool = False,
        projection: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.kind, self.takes, self.window = kind, takes, window
        self.axes, self.keeps, self.fitted = axes, keeps, fitted
        self.operator = operator
        self.projection = nn.Identity() if projection is None else projection

    def extra_repr(self) -> str:
        return f"kind={self.kind!r}, axes={self.axes}, fitted={self.fitted}"

    def forward(self, x: Tensor) -> Tensor:
        if self.takes == "token":
            return self.operator(x)
        if self.axes == "NHWC":
            x = x.permute(0, 3, 1, 2)
        elif self.axes == "NLC":
            x = x.transpose(1, 2)[..., None]
        if self.fitted:
            x = self._fit(x)
        y = self.projection(self.operator(x))
        if self.keeps:
            y = y[:, :, None, None]
        return y.permute(0, 2, 3, 1) if self.axes == "NHWC" and y.ndim == 4 else y

    def _fit(self, x: Tensor) -> Tensor:
        assert self.window is not None
        counts, (rows, columns) = self.window.shape(*x.shape[2:]), self.window.stride
        more = (counts[0] * rows - x.shape[2], counts[1] * columns - x.shape[3])
        if min(more) < 0:  # by `narrow` the gradient would lose the layout
            x = F.pad(x, (0, min(more[1], 0), 0, min(more[0], 0)))
        for axis, some in zip((2, 3), more, strict=True):
            x = surround(x, axis, 0, max(some, 0), "replicate")
        return x


class Leader(nn.Module):
    """A polyphase operator that remembers its choice, for the other branch of a residual block."""

    choice: Tensor

    def __init__(self, operator: Polyphase) -> None:
        super().__init__()
        self.operator = operator

    def forward(self, x: Tensor) -> Tensor:
        self.choice = self.operator.choose(x)
        return self.operator(x, self.choice)


class Follower(nn.Module):
    """Keeps of a shortcut the component that the residual branch beside it kept."""

    def __init__(self, leader: Leader) -> None:
        super().__init__()
        self.leader = (leader,)  # a tuple: its weights are saved once

    def forward(self, x: Tensor) -> Tensor:
        (leader,) = self.leader
        return leader.operator(x, leader.choice)


class Pooled(nn.Module):
    """Base of layers whose output goes through an operator: the layer's own class, weights and their names stay."""

    pool: nn.Module

    def forward(self, *arguments: Any, **options: Any) -> Any:
        return self.pool(super().forward(*arguments, **options))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _again, (type(self).__mro__[2],), self.__dict__


def _again(known: type[nn.Module]) -> nn.Module:
    layer = known.__new__(known)
    layer.__class__ = _pooled(known)
    return layer


def _pooled(known: type[nn.Module]) -> type[nn.Module]:
    return type(f"Pooled{known.__name__}", (Pooled, known), {})


def append(layer: nn.Module, operator: nn.Module) -> None:
    """Send what a layer gives through an operator, which becomes its child `pool`."""
    layer.add_module("pool", operator)
    layer.__class__ = _pooled(type(layer))
