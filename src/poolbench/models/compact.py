"""Residual, dense and depthwise networks for pictures of 28 to 64 pixels (`_mini`), of the libraries' own blocks."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import nn

from poolbench.models.layers import Depthwise, convolution
from poolbench.models.registry import register
from poolbench.pooling.fixed import OverlappingMax
from poolbench.pooling.heads import GlobalAverage

Shape = tuple[int, int, int]


@register("resnet_mini")
def resnet_mini(
    shape: Shape, classes: int, widths: Sequence[int] = (16, 32, 64), bottleneck: bool = False
) -> nn.Module:
    """A ResNet of one residual block a stage: ResNet-18's basic blocks, or ResNet-50's bottlenecks.

    Stem and overlapping max pooling, then stages whose first block has a stride in its branch and in its shortcut.
    """
    from torchvision.models.resnet import BasicBlock, Bottleneck

    if not widths or min(widths) < 1:
        raise ValueError(f"model.widths must be one positive number a stage, got {list(widths)}")
    block = Bottleneck if bottleneck else BasicBlock
    layers: OrderedDict[str, nn.Module] = OrderedDict(stem=convolution(shape[0], widths[0], 3), pool1=OverlappingMax())
    incoming = widths[0]
    for number, outgoing in enumerate(widths, start=1):
        stride = 1 if number == 1 else 2
        shortcut = None
        if stride > 1 or incoming != outgoing:
            shortcut = nn.Sequential(nn.Conv2d(incoming, outgoing, 1, stride, bias=False), nn.BatchNorm2d(outgoing))
        layers[f"layer{number}"] = block(incoming, outgoing // block.expansion, stride, shortcut)
        incoming = outgoing
    layers["head"] = GlobalAverage()
    layers["classifier"] = nn.Linear(incoming, classes)
    return nn.Sequential(layers)


@register("densenet_mini")
def densenet_mini(shape: Shape, classes: int, growth: int = 8) -> nn.Module:
    """A DenseNet-BC of three blocks of three layers, average pooling in the transitions between them."""
    from timm.models.densenet import DenseNet

    network = DenseNet(growth, (3, 3, 3), classes, shape[0])
    network.features.conv0 = nn.Conv2d(shape[0], 2 * growth, 3, padding=1, bias=False)
    return network


@register("mobilenet_v1_mini")
def mobilenet_v1_mini(shape: Shape, classes: int) -> nn.Module:
    """MobileNet: depthwise convolutions, at a stride where the map is halved, each before a pointwise one."""
    return _mobile(shape, classes, ["ds_r1_k3_s2_c32", "ds_r2_k3_s2_c64", "ds_r1_k3_s2_c128"], 0, "relu6")


@register("mobilenet_v2_mini")
def mobilenet_v2_mini(shape: Shape, classes: int) -> nn.Module:
    """MobileNetV2: inverted residuals with linear bottlenecks."""
    return _mobile(shape, classes, ["ds_r1_k3_s2_c16", "ir_r2_k3_s2_e4_c24", "ir_r2_k3_s2_e4_c32"], 128, "relu6")


@register("efficientnet_mini")
def efficientnet_mini(shape: Shape, classes: int) -> nn.Module:
    """EfficientNet: inverted residuals with squeeze and excitation, and SiLU."""
    return _mobile(
        shape,
        classes,
        ["ds_r1_k3_s2_c16_se0.25", "ir_r2_k5_s2_e4_c24_se0.25", "ir_r2_k3_s2_e4_c32_se0.25"],
        128,
        "silu",
    )


def _mobile(shape: Shape, classes: int, blocks: Sequence[str], features: int, activation: str) -> nn.Module:
    """A network of timm's mobile blocks behind a stem without a stride."""
    from timm.layers import get_act_layer
    from timm.models._efficientnet_builder import decode_arch_def
    from timm.models.efficientnet import EfficientNet

    network = EfficientNet(
        decode_arch_def([[block] for block in blocks]),
        num_classes=classes,
        num_features=features,
        in_chans=shape[0],
        stem_size=16,
        fix_stem=True,
        act_layer=get_act_layer(activation),
    )
    network.conv_stem.stride = (1, 1)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            layer.__class__ = Depthwise
    return network
