"""What several networks are built of."""

from typing import Any

import torch
from torch import Tensor, nn

from poolbench.models.slots import Watch
from poolbench.pooling.window import full_precision, wide


def convolution(
    incoming: int, outgoing: int, kernel: int, stride: int = 1, padding: int | None = None
) -> nn.Sequential:
    """Convolution, batch norm and ReLU; without a stride the map keeps its size, unless `padding` says otherwise."""
    border = kernel // 2 if padding is None else padding
    layer = nn.Conv2d(incoming, outgoing, kernel, stride, border, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outgoing), nn.ReLU(inplace=True))


class HeConv2d(nn.Conv2d):
    """A convolution for deep networks without norms: weights as He et al. (2015) draw them before a ReLU, no bias.

    >>> HeConv2d(8, 8, 3).bias.abs().max().item()
    0.0
    """

    def reset_parameters(self) -> None:
        nn.init.kaiming_normal_(self.weight, nonlinearity="relu")
        if self.bias is not None:
            nn.init.zeros_(self.bias)


class Depthwise(nn.Conv2d):
    """A convolution in float32 whatever autocast says: one filter a channel takes three times as long in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        with full_precision(x):
            return super().forward(wide(x)).to(x.dtype)


def width(layers: nn.Module, shape: tuple[int, int, int]) -> int:
    """Length of the vector that layers make of a picture. Raises ValueError that names a layer it is too small for."""
    return Watch(layers).run(torch.zeros(1, *shape)).shape[1]


def first_channels(network: nn.Module, channels: int) -> nn.Module:
    """`network` with a first convolution that takes so many channels: torchvision's take three."""
    path, layer = next((path, layer) for path, layer in network.named_modules() if isinstance(layer, nn.Conv2d))
    if channels != layer.in_channels:
        parent, _, name = path.rpartition(".")
        window: Any = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding")}
        anew = nn.Conv2d(channels, layer.out_channels, **window, bias=layer.bias is not None)
        network.get_submodule(parent).register_module(name, anew)
    return network
