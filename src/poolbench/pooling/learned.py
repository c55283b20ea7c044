"""Local operators with weights of their own."""

from torch import Tensor, nn

from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size


@register(
    "strided",
    "local",
    title="Strided convolution",
    formula="y = W * x + b at stride s",
    paper=Paper(
        "Springenberg, Dosovitskiy, Brox, Riedmiller",
        2015,
        "Striving for simplicity: the all convolutional net",
        "https://arxiv.org/abs/1412.6806",
    ),
    gradient="that of a convolution",
    numbers="linear; NaN and ±inf spread to their windows",
)
class Strided(Local):
    """A convolution at a stride in place of pooling, dense or one filter a channel: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Strided(8)(torch.zeros(1, 8, 28, 28)).shape
    torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        channels: int,
        kernel_size: Size = 3,
        stride: Size | None = 2,
        padding: Padding = 1,
        depthwise: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding)
        groups = channels if depthwise else 1
        self.convolution = nn.Conv2d(channels, channels, self.window.kernel, self.window.stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        self.window.shape(*x.shape[-2:])
        return self.convolution(self.window.pad(x, 0))
