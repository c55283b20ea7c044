"""Sliding windows: which positions of a map each output sees, without copying them k² times."""

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from numbers import Integral
from types import EllipsisType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = int | tuple[int, int]
Padding = int | tuple[int, int] | str


def layout(x: Tensor) -> torch.memory_format:
    """The memory format that an operator's output shares with its input `x` (N, C, H, W)."""
    last = not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def wide(x: Tensor) -> Tensor:
    """`x` in the precision in which sums, powers and exponentials are computed: float32 at least."""
    return x if x.dtype in (torch.float32, torch.float64) else x.float()


def full_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast switched off on the device of `x`; the meta device, which computes nothing, has none."""
    return nullcontext() if x.is_meta else torch.autocast(x.device.type, enabled=False)


def pair(size: Size, name: str) -> tuple[int, int]:
    """(height, width) of a size given as one number or two."""
    both = tuple(size) if isinstance(size, Sequence) else (size, size)
    if len(both) != 2 or not all(is_whole(number) for number in both):
        raise ValueError(f"{name} must be one whole number or two, got {size!r}")
    return int(both[0]), int(both[1])


def is_whole(number: object) -> bool:
    """Whether it is a whole number, of Python or of NumPy; True and False are none."""
    return isinstance(number, Integral) and not isinstance(number, bool)


@dataclass(frozen=True)
class Window:
    """The windows of a local operator: `kernel` tall and wide, `stride` apart, over a padded map.

    `padding` is symmetric, or None for TensorFlow's SAME: ⌈H / s⌉ windows, the odd pixel of padding last.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int] | None
    dilation: tuple[int, int]
    ceil_mode: bool
    plans: dict[Any, tuple[str, bool]] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What kernels have been told of the windows, and whether channels come last, by shape and strides of the maps."""

    @classmethod
    def of(cls, kernel_size: Size, stride: Size | None, padding: Padding, dilation: Size, ceil_mode: bool) -> "Window":
        """Check the options of a local operator; ValueError names the one that is out of range."""
        kernel = pair(kernel_size, "kernel_size")
        step = kernel if stride is None else pair(stride, "stride")
        spread = pair(dilation, "dilation")
        for name, sizes in (("kernel_size", kernel), ("stride", step), ("dilation", spread)):
            if min(sizes) < 1:
                raise ValueError(f"{name} must be at least 1, got {min(sizes)}")
        if isinstance(padding, str):
            if padding != "same":
                raise ValueError(f"padding must be a number of pixels or 'same', got {padding!r}")
            if ceil_mode:
                raise ValueError("ceil_mode adds nothing to padding='same': leave one of them out")
            return cls(kernel, step, None, spread, ceil_mode)
        border = pair(padding, "padding")
        if min(border) < 0 or border[0] > kernel[0] // 2 or border[1] > kernel[1] // 2:
            raise ValueError(f"padding must be from 0 to half of kernel_size {kernel}, got {padding}")
        return cls(kernel, step, border, spread, ceil_mode)

    @property
    def extent(self) -> tuple[int, int]:
        """Pixels from the first to the last position of a window, both counted."""
        return (self.dilation[0] * (self.kernel[0] - 1) + 1, self.dilation[1] * (self.kernel[1] - 1) + 1)

    def shape(self, height: int, width: int) -> tuple[int, int]:
        """Size of the map that comes out."""
        return self._axis(0, height)[0], self._axis(1, width)[0]

    def border(self, height: int, width: int) -> tuple[int, int, int, int]:
        """Padding (left, right, top, bottom) under which every window lies inside; negative where pixels go unused."""
        top, bottom = self._axis(0, height)[1:]
        left, right = self._axis(1, width)[1:]
        return left, right, top, bottom

    def _axis(self, axis: int, size: int) -> tuple[int, int, int]:
        """Number of windows along an axis, and the padding before and after it that they cover."""
        extent, stride = self.extent[axis], self.stride[axis]
        if self.padding is None:
            count = -(-size // stride)
            total = max((count - 1) * stride + extent - size, 0)
            before = total // 2
        else:
            before = self.padding[axis]
            room = size + 2 * before - extent
            if room < 0:
                raise ValueError(
                    f"the window is larger than the map: {extent} pixels (kernel and dilation) against "
                    f"{size} + 2·{before} of padding; use a smaller kernel_size or a larger map"
                )
            count = (-(-room // stride) if self.ceil_mode else room // stride) + 1
            if self.ceil_mode and (count - 1) * stride >= size + before:
                count -= 1  # as torch: no window may start in the padding after the map
        return count, before, (count - 1) * stride + extent - size - before

    def plan(self, height: int, width: int, counted: bool) -> tuple[int, ...]:
        """What a kernel is told first of windows on a map; `counted` is whether an average counts the padding."""
        (rows, top, _), (columns, left, _) = self._axis(0, height), self._axis(1, width)
        reach = self.extent if self.padding is None else self.padding
        padding = (top, reach[0], left, reach[1]) if counted else (0, 0, 0, 0)
        return (*self.kernel, *self._steps(rows, columns), *self.dilation, top, left, rows, columns, *padding)

    def _steps(self, *counts: int) -> list[int]:
        """The stride along each axis; of one window no more than it: kernels sort columns by the stride."""
        axes = zip(counts, self.stride, self.extent, strict=True)
        return [min(stride, extent) if count == 1 else stride for count, stride, extent in axes]

    def covered(self, size: Sequence[int], padding: bool) -> tuple[list[int], list[int]]:
        """How many rows and columns of each window lie in a map of this size, with its padding or without.

        What `ceil_mode` adds beyond the padding never counts.
        """
        return self._covered(0, size[0], padding), self._covered(1, size[1], padding)

    def _covered(self, axis: int, size: int, padding: bool) -> list[int]:
        count, before, _ = self._axis(axis, size)
        after = self.extent[axis] if self.padding is None else before
        low, high = (-before, size + after) if padding else (0, size)
        steps = range(0, self.extent[axis], self.dilation[axis])
        starts = range(-before, count * self.stride[axis] - before, self.stride[axis])
        return [sum(low <= start + step < high for step in steps) for start in starts]

    def edges(self, axis: int, size: int, places: Tensor) -> list[int]:
        """First and last position along an axis of this size of the windows at these places, in turn.

        >>> Window.of(2, 1, "same", 1, False).edges(0, 4, torch.tensor([0, 3]))
        [0, 1, 3, 3]
        """
        first = places * self.stride[axis] - self._axis(axis, size)[1]
        return torch.stack([first, first + self.extent[axis] - 1], 1).clamp(0, size - 1).flatten().tolist()

    def pad(self, x: Tensor, value: float) -> Tensor:
        """`x` with `value` around it, cut to what the windows cover; `x` itself where that is all of it."""
        border = self.border(*x.shape[-2:])
        return F.pad(x, border, value=value) if any(border) else x

    def views(self, padded: Tensor) -> list[Tensor]:
        """For each of the kernel's positions, row by row, a strided view of what it meets in every window."""
        return [padded[place] for place in self._places(*padded.shape[-2:])]

    def _places(self, height: int, width: int) -> list[tuple[EllipsisType, slice, slice]]:
        rows, columns = self.extent
        return [
            (
                ...,
                slice(top, height - rows + top + 1, self.stride[0]),
                slice(left, width - columns + left + 1, self.stride[1]),
            )
            for top in range(0, rows, self.dilation[0])
            for left in range(0, columns, self.dilation[1])
        ]

    def tiles(self, x: Tensor) -> Tensor:
        """A map that the windows tile, seen as (N, H', kh, W', kw, C)."""
        rows, columns = self.kernel
        return x.permute(0, 2, 3, 1).unflatten(2, (-1, columns)).unflatten(1, (-1, rows))

    def split(self, x: Tensor) -> list[Tensor]:
        """`views` of `x` in zeros, for a formula that autograd differentiates: gradients come back by `scatter`."""
        return list(Split.apply(x, self))

    def scatter(self, parts: Iterable[Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
        """The adjoint of `views(pad(x))` for `x` of this shape: the parts added up where their windows overlap."""
        left, right, top, bottom = self.border(*shape[-2:])
        padded = (*shape[:-2], top + shape[-2] + bottom, left + shape[-1] + right)
        total = torch.zeros(padded, dtype=like.dtype, device=like.device).contiguous(memory_format=layout(like))
        apart = all(stride >= extent for stride, extent in zip(self.stride, self.extent, strict=True))
        for place, part in zip(self._places(*padded[-2:]), parts, strict=True):
            view = total[place]  # made anew: autograd refuses a view that is older than the last change to its base
            view.copy_(part) if apart else view.add_(part)
        return F.pad(total, (-left, -right, -top, -bottom)) if any((left, right, top, bottom)) else total


class Split(torch.autograd.Function):
    """Views of every window; autograd's own backward of a slice would fill a whole map for each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, window: Window) -> tuple[Tensor, ...]:
        ctx.window, ctx.shape = window, x.shape
        return tuple(window.views(window.pad(x, 0)))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return ctx.window.scatter(gradients, ctx.shape, gradients[0]), None


class Local(nn.Module):
    """Base of the operators that slide a window over a map (N, C, H, W) and keep its channels."""

    def __init__(
        self,
        kernel_size: Size = 2,
        stride: Size | None = None,
        padding: Padding = 0,
        dilation: Size = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.window = Window.of(kernel_size, stride, padding, dilation, ceil_mode)

    def extra_repr(self) -> str:
        window = self.window
        padding = "same" if window.padding is None else window.padding
        return f"kernel_size={window.kernel}, stride={window.stride}, padding={padding}, ceil_mode={window.ceil_mode}"
