"""A network that classifies and corrects regions of a picture, with a slot for the region operator."""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poolbench import pooling
from poolbench.models.layers import convolution
from poolbench.models.registry import ORIGINAL, register
from poolbench.pooling.fixed import Max
from poolbench.pooling.regions import RoIPool


def region_operator(chosen: str | Mapping[str, Any], stride: int) -> nn.Module:
    """The region operator of this name and options, for a map of this stride; "original" is Fast R-CNN's RoI pooling.

    Raises ValueError for an operator of another kind.
    """
    options: dict[str, Any] = {"name": chosen} if isinstance(chosen, str) else dict(chosen)
    if options["name"] == ORIGINAL:
        return RoIPool(spatial_scale=1 / stride)
    spec = pooling.spec(options.pop("name"))
    if spec.kind != "region" and spec.name in pooling.names():
        raise ValueError(
            f"region={spec.name}: the slot takes a region operator and this one is {spec.kind}; "
            f"choose from {', '.join(pooling.names('region'))}"
        )
    return spec.build(1, **options, spatial_scale=1 / stride)


@register("fast_rcnn_mini", task="detection")
class FastRcnn(nn.Module):
    """Fast R-CNN (Girshick, 2015), small: stages as of `cnn`, the region operator, and two linear answers a region.

    Pictures (N, C, H, W) and boxes (K, 5), a picture's number and x1, y1, x2, y2, to scores (K, classes), the first of
    which is the ground's, and offsets (K, classes - 1, 4) of a box. Without boxes each picture is a region. The slots
    are `pool1`, `pool2`, ... and `region`.

    >>> network = FastRcnn((1, 64, 96), 11, region="roi_align")
    >>> scores, offsets = network(torch.zeros(2, 1, 64, 96), torch.tensor([[1.0, 8.0, 8.0, 40.0, 30.0]]))
    >>> scores.shape, offsets.shape
    (torch.Size([1, 11]), torch.Size([1, 10, 4]))
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        classes: int,
        region: str | Mapping[str, Any] = ORIGINAL,
        widths: Sequence[int] = (16, 32, 64),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        if not widths or min(widths) < 1:
            raise ValueError(f"model.widths must be one positive number a stage, got {list(widths)}")
        if hidden < 1:
            raise ValueError(f"model.hidden must be at least 1, got {hidden}")
        layers: OrderedDict[str, nn.Module] = OrderedDict()
        channels = shape[0]
        for number, width in enumerate(widths, start=1):
            layers[f"stage{number}"] = convolution(channels, width, 3)
            layers[f"pool{number}"] = Max()
            channels = width
        self.stride = 2 ** len(widths)
        self.features = nn.Sequential(layers)
        self.region = region_operator(region, self.stride)
        with torch.no_grad():
            grid = self.region(torch.zeros(1, channels, 8, 8), torch.tensor([[0.0, 0.0, 0.0, 8.0, 8.0]]))
        self.hidden = nn.Sequential(nn.Flatten(), nn.Linear(grid.numel(), hidden), nn.ReLU(inplace=True))
        self.scores = nn.Linear(hidden, classes)
        self.offsets = nn.Linear(hidden, 4 * (classes - 1))

    def forward(self, x: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return self.read(self.features(x), whole(x) if boxes is None else boxes)

    def read(self, maps: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """The answers to regions of maps that are there already."""
        vectors = self.hidden(self.region(maps, boxes))
        return self.scores(vectors), self.offsets(vectors).unflatten(1, (-1, 4))


def whole(x: Tensor) -> Tensor:
    """Each picture (N, C, H, W) as a region: (N, 5)."""
    height, width = x.shape[2:]
    corners = torch.tensor([0.0, 0.0, width, height], device=x.device).expand(len(x), 4)
    return torch.cat([torch.arange(len(x), device=x.device)[:, None], corners], 1)
