"""Networks of convolutions in a row: what libraries lack, and versions for pictures of 28 to 64 pixels (`_mini`).

A mini keeps what makes its architecture, narrower and shallower, with batch norm, so that all train at one learning
rate; two CPU cores train it. Its classifier has no dropout: `head=flatten head.dropout=0.5` puts one before it.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from poolbench.models.layers import HeConv2d, convolution, width
from poolbench.models.registry import register
from poolbench.naming import unknown
from poolbench.pooling.fixed import Average, Max, OverlappingMax
from poolbench.pooling.heads import Flatten, GlobalAverage, SpatialPyramid

Shape = tuple[int, int, int]


def classifier(features: nn.Module, shape: Shape, hidden: Sequence[int], classes: int) -> nn.Sequential:
    """`features`, which end in a head, then fully connected layers with ReLU between."""
    sizes = [width(features, shape), *hidden]
    layers = [
        layer
        for incoming, outgoing in zip(sizes, hidden, strict=False)
        for layer in (nn.Linear(incoming, outgoing), nn.ReLU(inplace=True))
    ]
    return nn.Sequential(
        OrderedDict(features=features, classifier=nn.Sequential(*layers, nn.Linear(sizes[-1], classes)))
    )


@register("lenet5")
def lenet5(shape: Shape, classes: int) -> nn.Module:
    """LeNet-5: LeCun, Bottou, Bengio, Haffner, 1998. Average pooling; 61,706 weights for MNIST's pictures.

    As it is written today: every map of the third layer sees all maps below, pooling has no weights and no tanh of its
    own, and the last layer is linear. 28 pixels are padded to 32.
    """
    features = nn.Sequential(
        OrderedDict(
            c1=nn.Conv2d(shape[0], 6, 5, padding=2),
            tanh1=nn.Tanh(),
            pool1=Average(),
            c3=nn.Conv2d(6, 16, 5),
            tanh3=nn.Tanh(),
            pool2=Average(),
            head=Flatten(),
        )
    )
    layers = [nn.Linear(width(features, shape), 120), nn.Tanh(), nn.Linear(120, 84), nn.Tanh(), nn.Linear(84, classes)]
    return nn.Sequential(OrderedDict(features=features, classifier=nn.Sequential(*layers)))


@register("alexnet_mini")
def alexnet_mini(shape: Shape, classes: int) -> nn.Module:
    """AlexNet's five convolutions and three overlapping max poolings."""
    features = nn.Sequential(
        OrderedDict(
            conv1=convolution(shape[0], 16, 5),
            pool1=Max(3, 2),
            conv2=convolution(16, 32, 5),
            pool2=Max(3, 2),
            conv3=convolution(32, 48, 3),
            conv4=convolution(48, 32, 3),
            conv5=convolution(32, 32, 3),
            pool5=Max(3, 2),
            head=Flatten(),
        )
    )
    return classifier(features, shape, [128, 128], classes)


@register("sppnet_mini")
def sppnet_mini(shape: Shape, classes: int, levels: Sequence[int] = (3, 2, 1)) -> nn.Module:
    """SPP-net: a spatial pyramid in place of the last pooling of an AlexNet, so that pictures of any size fit."""
    features = nn.Sequential(
        OrderedDict(
            conv1=convolution(shape[0], 16, 5),
            pool1=Max(3, 2),
            conv2=convolution(16, 32, 5),
            pool2=Max(3, 2),
            conv3=convolution(32, 48, 3),
            conv4=convolution(48, 32, 3),
            conv5=convolution(32, 32, 3),
            head=SpatialPyramid(tuple(levels)),
        )
    )
    return classifier(features, shape, [128, 128], classes)


@register("sppnet")
def sppnet(shape: Shape, classes: int, levels: Sequence[int] = (6, 3, 2, 1)) -> nn.Module:
    """SPP-net on ZF-5: He, Zhang, Ren, Sun, 2014. For pictures of 224 pixels, and of any other size."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    incoming = shape[0]
    for number, (outgoing, kernel, stride) in enumerate(
        [(96, 7, 2), (256, 5, 2), (384, 3, 1), (384, 3, 1), (256, 3, 1)], start=1
    ):
        layers[f"conv{number}"] = nn.Sequential(
            HeConv2d(incoming, outgoing, kernel, stride, kernel // 2 if stride == 1 else 1), nn.ReLU(inplace=True)
        )
        if stride > 1:
            layers[f"pool{number}"] = OverlappingMax()
        incoming = outgoing
    layers["head"] = SpatialPyramid(tuple(levels))
    features = nn.Sequential(layers)
    return nn.Sequential(
        OrderedDict(
            features=features,
            classifier=nn.Sequential(
                nn.Linear(width(features, shape), 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, 4096),
                nn.ReLU(inplace=True),
                nn.Dropout(),
                nn.Linear(4096, classes),
            ),
        )
    )


@register("vgg_mini")
def vgg_mini(
    shape: Shape, classes: int, widths: Sequence[int] = (16, 32, 48), depths: Sequence[int] = (1, 1, 2)
) -> nn.Module:
    """The first blocks of VGG-11, with batch norm: 3x3 convolutions, then max pooling 2x2."""
    if not widths or len(widths) != len(depths) or min(*widths, *depths) < 1:
        raise ValueError(
            f"model.widths and model.depths: a positive number a block each, got {list(widths)}, {list(depths)}"
        )
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    incoming = shape[0]
    for number, (outgoing, depth) in enumerate(zip(widths, depths, strict=True), start=1):
        sizes = [incoming, *[outgoing] * depth]
        layers[f"block{number}"] = nn.Sequential(*[convolution(*pair, 3) for pair in pairwise(sizes)])
        layers[f"pool{number}"] = Max()
        incoming = outgoing
    layers["head"] = Flatten()
    return classifier(nn.Sequential(layers), shape, [128], classes)


@register("nin")
def nin(shape: Shape, classes: int) -> nn.Module:
    """Network in Network: Lin, Chen, Yan, 2014, for CIFAR; 966,986 weights. Max, then average pooling; GAP ends it."""
    return _nin(shape, classes, [(192, 160, 96), (192, 192, 192), (192, 192)], published=True)


@register("nin_mini")
def nin_mini(shape: Shape, classes: int) -> nn.Module:
    """Network in Network, an eighth as wide."""
    return _nin(shape, classes, [(24, 20, 12), (24, 24, 24), (24, 24)], published=False)


def _nin(shape: Shape, classes: int, widths: Sequence[Sequence[int]], published: bool) -> nn.Module:
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    incoming = shape[0]
    for number, (block, kernel) in enumerate(zip(widths, (5, 5, 3), strict=True), start=1):
        steps = []
        for place, outgoing in enumerate(block if number < 3 else [*block, classes]):
            steps.append(_step(incoming, outgoing, 1 if place else kernel, published))
            incoming = outgoing
        layers[f"mlpconv{number}"] = nn.Sequential(*steps)
        if number < 3:
            layers[f"pool{number}"] = (Max if number == 1 else Average)(3, 2, ceil_mode=True)
            layers[f"dropout{number}"] = nn.Dropout(0.5 if published else 0.0)
    return nn.Sequential(layers | OrderedDict(head=GlobalAverage(), classifier=nn.Identity()))


def _step(
    incoming: int, outgoing: int, kernel: int, published: bool, stride: int = 1, padding: int | None = None
) -> nn.Module:
    """A convolution and a ReLU, as published; with a batch norm between in a mini."""
    if not published:
        return convolution(incoming, outgoing, kernel, stride, padding)
    border = kernel // 2 if padding is None else padding
    return nn.Sequential(HeConv2d(incoming, outgoing, kernel, stride, border), nn.ReLU(inplace=True))


VARIANTS = {"a": (5,), "b": (5, 1), "c": (3, 3)}
"""All-CNN's models: the kernels of the convolutions before each downsampling."""
FORMS = ("base", "strided", "conv_pool", "all")


@register("all_cnn")
def all_cnn(shape: Shape, classes: int, variant: str = "c", form: str = "base") -> nn.Module:
    """Springenberg, Dosovitskiy, Brox, Riedmiller, 2015, for CIFAR: models a, b, c, each in four forms.

    `base`: max pooling; `strided`: the stride in the convolution before; `conv_pool`: one convolution more, then max
    pooling; `all`: a convolution at stride 2 in place of pooling (All-CNN-C: 1,369,738 weights).
    """
    return _all_cnn(shape, classes, variant, form, 96, published=True)


@register("all_cnn_mini")
def all_cnn_mini(shape: Shape, classes: int, variant: str = "c", form: str = "base") -> nn.Module:
    """All-CNN's models in their four forms, an eighth as wide."""
    return _all_cnn(shape, classes, variant, form, 12, published=False)


def _all_cnn(shape: Shape, classes: int, variant: str, form: str, wide: int, published: bool) -> nn.Module:
    if variant not in VARIANTS:
        raise unknown("model.variant", variant, VARIANTS)
    if form not in FORMS:
        raise unknown("model.form", form, FORMS)
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    incoming = shape[0]
    if published:
        layers["dropout0"] = nn.Dropout(0.2)
    for block, outgoing in enumerate((wide, 2 * wide), start=1):
        kernels = VARIANTS[variant]
        for place, kernel in enumerate(kernels, start=1):
            stride = 2 if form == "strided" and place == len(kernels) else 1
            layers[f"conv{block}{place}"] = _step(incoming, outgoing, kernel, published, stride)
            incoming = outgoing
        if form in ("conv_pool", "all"):
            layers[f"extra{block}"] = _step(incoming, incoming, 3, published, 2 if form == "all" else 1)
        if form in ("base", "conv_pool"):
            layers[f"pool{block}"] = Max(3, 2, ceil_mode=True)
        if published:
            layers[f"dropout{block}"] = nn.Dropout(0.5)
    layers["conv31"] = _step(incoming, incoming, 3, published, padding=0)
    layers["conv32"] = _step(incoming, incoming, 1, published)
    layers["conv33"] = _step(incoming, classes, 1, published)
    return nn.Sequential(layers | OrderedDict(head=GlobalAverage(), classifier=nn.Identity()))


@register("googlenet_mini")
def googlenet_mini(shape: Shape, classes: int) -> nn.Module:
    """Three inception modules, overlapping max pooling between them, GAP."""
    from torchvision.models.googlenet import Inception

    return nn.Sequential(
        OrderedDict(
            stem=convolution(shape[0], 16, 3),
            pool1=Max(3, 2, ceil_mode=True),
            inception2=Inception(16, 8, 8, 16, 4, 8, 8),
            pool2=Max(3, 2, ceil_mode=True),
            inception3=Inception(40, 16, 16, 32, 4, 8, 8),
            inception4=Inception(64, 24, 24, 48, 8, 12, 12),
            head=GlobalAverage(),
            classifier=nn.Linear(96, classes),
        )
    )
