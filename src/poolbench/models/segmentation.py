"""Networks that name the class of every pixel, with a slot for a context operator before the decoder."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from poolbench import pooling
from poolbench.models.layers import width
from poolbench.models.registry import ORIGINAL, register
from poolbench.pooling.context import convolution
from poolbench.pooling.fixed import Max

STRIDES = (4, 8, 16)


def context_operator(chosen: str | Mapping[str, Any], channels: int) -> nn.Module:
    """The context operator of this name and options, or nothing at all for "original"."""
    options = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    spec = pooling.spec(options.pop("name")) if options["name"] != ORIGINAL else None
    if spec is None:
        return nn.Identity()
    if spec.kind != "context" and spec.name in pooling.names():
        raise ValueError(
            f"context={spec.name}: the slot takes a context operator and this one is {spec.kind}; "
            f"choose from {', '.join(pooling.names('context'))}"
        )
    return spec.build(channels, **options)


@register("fcn_mini", task="segmentation")
class FullyConvolutional(nn.Module):
    """A fully convolutional network as Long, Shelhamer, Darrell, 2015, with the dilated last stages of DeepLab.

    Pictures (N, C, H, W) of any size to logits (N, classes, H, W). Five convolutions with 2x2 max pooling between them
    until `output_stride` (4, 8 or 16) is reached; those after that are dilated by what is not pooled. Then the slot
    `context`, empty as published, a 3x3 and a 1x1 convolution, and bilinear interpolation.

    >>> import torch
    >>> FullyConvolutional((1, 64, 96), 11, context="ppm", output_stride=8)(torch.zeros(2, 1, 64, 96)).shape
    torch.Size([2, 11, 64, 96])
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        context: str | Mapping[str, Any] = ORIGINAL,
        output_stride: int = 16,
        widths: Sequence[int] = (16, 32, 64, 64, 64),
    ) -> None:
        super().__init__()
        if output_stride not in STRIDES:
            raise ValueError(f"model.output_stride must be 4, 8 or 16, got {output_stride}")
        if len(widths) != 5 or min(widths) < 1:
            raise ValueError(f"model.widths must be five positive numbers, got {list(widths)}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        incoming, stride, rate = shape[0], 1, 1
        for number, outgoing in enumerate(widths, start=1):
            layers[f"stage{number}"] = convolution(incoming, outgoing, 3, rate)
            incoming = outgoing
            if number == len(widths):
                break
            if stride < output_stride:
                layers[f"pool{number}"] = Max()
                stride *= 2
            else:
                rate *= 2
        self.output_stride = output_stride
        self.backbone = nn.Sequential(layers)
        self.context = context_operator(context, incoming)
        made = width(self.context, (incoming, 1, 1))
        self.decoder = nn.Sequential(convolution(made, incoming, 3), nn.Conv2d(incoming, classes, 1))

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < self.output_stride:
            raise ValueError(
                f"a picture of {x.shape[2]} x {x.shape[3]} pixels is too small for model.output_stride "
                f"{self.output_stride}: give as many each way, or a smaller stride"
            )
        logits = self.decoder(self.context(self.backbone(x)))
        # Half-pixel centres, which are those of 2x2 windows: the corners of map and picture do not coincide.
        return F.interpolate(logits, size=x.shape[2:], mode="bilinear", align_corners=False)
