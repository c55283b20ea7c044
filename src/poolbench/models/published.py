"""Networks as torchvision and timm publish them, for pictures of 224 pixels; either library is imported when asked."""

from torch import nn

from poolbench.models.layers import first_channels
from poolbench.models.registry import register

Shape = tuple[int, int, int]


@register("alexnet")
def alexnet(shape: Shape, classes: int) -> nn.Module:
    """AlexNet: Krizhevsky, Sutskever, Hinton, 2012, in the form of Krizhevsky, 2014. Overlapping max pooling."""
    from torchvision.models import alexnet

    return first_channels(alexnet(num_classes=classes), shape[0])


@register("vgg11")
def vgg11(shape: Shape, classes: int) -> nn.Module:
    """VGG-11: Simonyan, Zisserman, 2015."""
    from torchvision.models import vgg11

    return first_channels(vgg11(num_classes=classes, init_weights=False), shape[0])


@register("vgg11_bn")
def vgg11_bn(shape: Shape, classes: int) -> nn.Module:
    """VGG-11 with batch norm."""
    from torchvision.models import vgg11_bn

    return first_channels(vgg11_bn(num_classes=classes, init_weights=False), shape[0])


@register("vgg16")
def vgg16(shape: Shape, classes: int) -> nn.Module:
    """VGG-16: Simonyan, Zisserman, 2015."""
    from torchvision.models import vgg16

    return first_channels(vgg16(num_classes=classes, init_weights=False), shape[0])


@register("vgg16_bn")
def vgg16_bn(shape: Shape, classes: int) -> nn.Module:
    """VGG-16 with batch norm."""
    from torchvision.models import vgg16_bn

    return first_channels(vgg16_bn(num_classes=classes, init_weights=False), shape[0])


@register("googlenet")
def googlenet(shape: Shape, classes: int) -> nn.Module:
    """GoogLeNet: Szegedy et al., 2015, with batch norm and without the auxiliary classifiers."""
    from torchvision.models import googlenet

    return first_channels(googlenet(num_classes=classes, aux_logits=False, init_weights=False), shape[0])


@register("resnet18")
def resnet18(shape: Shape, classes: int) -> nn.Module:
    """ResNet-18: He, Zhang, Ren, Sun, 2016."""
    from torchvision.models import resnet18

    return first_channels(resnet18(num_classes=classes), shape[0])


@register("resnet50")
def resnet50(shape: Shape, classes: int) -> nn.Module:
    """ResNet-50: He, Zhang, Ren, Sun, 2016, with the stride in the 3x3 convolution."""
    from torchvision.models import resnet50

    return first_channels(resnet50(num_classes=classes), shape[0])


@register("densenet121")
def densenet121(shape: Shape, classes: int) -> nn.Module:
    """DenseNet-121: Huang, Liu, van der Maaten, Weinberger, 2017."""
    return _timm("densenet121", shape, classes)


@register("mobilenet_v1")
def mobilenet_v1(shape: Shape, classes: int) -> nn.Module:
    """MobileNet: Howard et al., 2017."""
    return _timm("mobilenetv1_100", shape, classes)


@register("mobilenet_v2")
def mobilenet_v2(shape: Shape, classes: int) -> nn.Module:
    """MobileNetV2: Sandler, Howard, Zhu, Zhmoginov, Chen, 2018."""
    return _timm("mobilenetv2_100", shape, classes)


@register("efficientnet_b0")
def efficientnet_b0(shape: Shape, classes: int) -> nn.Module:
    """EfficientNet-B0: Tan, Le, 2019."""
    return _timm("efficientnet_b0", shape, classes)


def _timm(name: str, shape: Shape, classes: int) -> nn.Module:
    import timm

    return timm.create_model(name, num_classes=classes, in_chans=shape[0])
