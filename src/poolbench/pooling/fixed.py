"""Local operators with nothing to learn and nothing to draw: max, average, subsampling."""

import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling.registry import Paper, register
from poolbench.pooling.window import Local, Padding, Size, layout

LENET = Paper(
    "LeCun et al.",
    1998,
    "Gradient-based learning applied to document recognition",
    "https://doi.org/10.1109/5.726791",
)
ALEXNET = Paper(
    "Krizhevsky, Sutskever, Hinton",
    2012,
    "ImageNet classification with deep convolutional neural networks",
    "https://papers.nips.cc/paper/4824",
)
SCHERER = Paper(
    "Scherer, Müller, Behnke",
    2010,
    "Evaluation of pooling operations in convolutional architectures for object recognition",
    "https://doi.org/10.1007/978-3-642-15825-4_10",
)


@register(
    "max",
    "local",
    title="Max pooling",
    formula="y = max_k x_k",
    paper=SCHERER,
    gradient="all of it to the first maximum of the window",
    numbers="negatives as any number; NaN wins; -inf only where all are; padding never wins",
)
class Max(Local):
    """The largest value of each window: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Max(2)(torch.tensor([[[[1., 2.], [4., 3.]]]])).item()
    4.0
    """

    def forward(self, x: Tensor) -> Tensor:
        window = self.window
        if window.padding is None:
            return F.max_pool2d(window.pad(x, float("-inf")), window.kernel, window.stride, 0, window.dilation)
        window.shape(*x.shape[-2:])
        return F.max_pool2d(x, window.kernel, window.stride, window.padding, window.dilation, window.ceil_mode)


@register(
    "overlapping_max",
    "local",
    title="Overlapping max pooling",
    formula="y = max_k x_k, windows 3x3 at stride 2",
    paper=ALEXNET,
    gradient="all of it to the first maximum of the window; a position that wins twice receives both",
    numbers="as max",
    departs="AlexNet pads nothing; padding 1 is the default here, so that an even map is halved as by the others",
)
class OverlappingMax(Max):
    """Max pooling whose windows overlap: (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> OverlappingMax()(torch.zeros(1, 3, 28, 28)).shape
    torch.Size([1, 3, 14, 14])
    """

    def __init__(
        self,
        kernel_size: Size = 3,
        stride: Size | None = 2,
        padding: Padding = 1,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)


@register(
    "average",
    "local",
    title="Average pooling",
    formula="y = 1/k² Σ_k x_k",
    paper=LENET,
    gradient="an equal share to every position of the window",
    numbers="linear; NaN and ±inf spread to their windows",
)
class Average(Local):
    """The mean of each window: (N, C, H, W) to (N, C, H', W').

    Padding counts as zeros unless `count_include_pad` is false; the cells that `ceil_mode` adds never count.

    >>> import torch
    >>> Average(2)(torch.tensor([[[[1., 2.], [4., 3.]]]])).item()
    2.5
    """

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Tensor) -> Tensor:
        window = self.window
        if window.padding is None:
            mean = F.avg_pool2d(window.pad(x, 0), window.kernel, window.stride)
            if self.count_include_pad:
                return mean
            return mean / F.avg_pool2d(window.pad(x.new_ones(x.shape[-2:])[None], 0), window.kernel, window.stride)
        window.shape(*x.shape[-2:])
        return F.avg_pool2d(x, window.kernel, window.stride, window.padding, window.ceil_mode, self.count_include_pad)


@register(
    "subsample",
    "local",
    title="Subsampling (plain stride)",
    formula="y = x_c, c the centre of the window",
    paper=LENET,
    gradient="all of it to the position that was kept",
    numbers="copies what it keeps; a centre that lies in the padding gives 0",
)
class Subsample(Local):
    """One position of each window, its centre (⌊(k - 1) / 2⌋): (N, C, H, W) to (N, C, H', W').

    >>> import torch
    >>> Subsample(2)(torch.arange(16.).reshape(1, 1, 4, 4)).flatten().tolist()
    [0.0, 2.0, 8.0, 10.0]
    """

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.window.kernel
        centre = (rows - 1) // 2 * columns + (columns - 1) // 2
        return self.window.views(self.window.pad(x, 0))[centre].contiguous(memory_format=layout(x))
