"""The small convolutional network that the default study trains."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from torch import nn

from poolbench.models.registry import register
from poolbench.naming import unknown
from poolbench.pooling.fixed import Max
from poolbench.pooling.heads import GlobalAverage

PADDINGS: dict[str, Literal["zeros", "circular"]] = {"zeros": "zeros", "circular": "circular"}


@register("cnn")
class Cnn(nn.Sequential):
    """Stages of convolution, batch norm and ReLU, max pooling after each; the mean of the map; a linear classifier.

    Pictures (N, C, H, W) to logits (N, classes). The slots are called `pool1`, `pool2`, ... and `head`.
    `padding_mode` of the convolutions: zeros or circular, under which a circular shift meets no border.

    >>> import torch
    >>> network = Cnn((1, 28, 28), 10)
    >>> network(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        widths: Sequence[int] = (8, 16, 32),
        padding_mode: str = "zeros",
    ) -> None:
        if not widths or min(widths) < 1:
            raise ValueError(f"model.widths must be one positive number a stage, got {list(widths)}")
        if padding_mode not in PADDINGS:
            raise unknown("model.padding_mode", padding_mode, PADDINGS)
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels, *_ = shape
        for number, width in enumerate(widths, start=1):
            layers[f"stage{number}"] = nn.Sequential(
                nn.Conv2d(channels, width, 3, padding=1, bias=False, padding_mode=PADDINGS[padding_mode]),
                nn.BatchNorm2d(width),
                nn.ReLU(inplace=True),
            )
            layers[f"pool{number}"] = Max()
            channels = width
        layers["head"] = GlobalAverage()
        layers["classifier"] = nn.Linear(channels, classes)
        super().__init__(layers)
