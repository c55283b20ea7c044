"""What torch is told of kernels besides: the shapes that they give, for torch.compile, which runs none of them."""

import torch
from torch import Tensor

from poolbench.pooling.native.plan import numbers_of

KEEPS = ("max", "mixed", "coin", "stochastic")
"""Kernels that keep a byte of each window for the backward pass: which of its positions counts."""


def like(x: Tensor, height: int, width: int, last: int, pictures: int, dtype: torch.dtype | None = None) -> Tensor:
    """An empty map of so many pictures with the channels of `x`, and its dtype unless another is asked for."""
    size = (pictures, x.shape[1], height, width)
    return torch.empty(size, dtype=dtype or x.dtype, device=x.device, memory_format=format_of(last))


def format_of(last: int) -> torch.memory_format:
    """The layout with channels last, or first."""
    return torch.channels_last if last else torch.contiguous_format


def slide(x: Tensor, extra: Tensor | None, name: str, plan: str, number: float) -> Tensor:
    return of_windows(x, plan)


def of_windows(x: Tensor, plan: str) -> Tensor:
    """An empty map with a number for each window."""
    numbers = numbers_of(plan)
    return like(x, numbers[8], numbers[9], numbers[16], x.shape[0])


def of_maps(x: Tensor, plan: str, pictures: int) -> Tensor:
    """Empty maps of the size that the windows are on."""
    numbers = numbers_of(plan)
    return like(x, numbers[-2], numbers[-1], numbers[16], pictures)


def slide_keeping(x: Tensor, extra: Tensor | None, name: str, plan: str, number: float) -> tuple[Tensor, Tensor]:
    y = slide(x, extra, name, plan, number)
    return y, torch.empty_like(y, dtype=torch.uint8)


def switches(x: Tensor, plan: str) -> tuple[Tensor, Tensor, Tensor]:
    y = of_windows(x, plan)
    return y, torch.empty_like(y, dtype=torch.uint8), torch.empty_like(y, dtype=torch.int64)


def slide_backward(
    g: Tensor,
    x: Tensor | None,
    position: Tensor | None,
    extra: Tensor | None,
    name: str,
    plan: str,
    number: float,
) -> Tensor:
    return of_maps(g, plan, g.shape[0])


def learned(x: Tensor, other: Tensor | None, numbers: Tensor, name: str, plan: str, number: float) -> Tensor:
    return of_windows(x, plan)


def learned_backward(
    g: Tensor, x: Tensor, other: Tensor | None, numbers: Tensor, name: str, plan: str, number: float
) -> tuple[Tensor, Tensor, Tensor]:
    pictures = 0 if other is None else x.shape[0]
    return of_maps(x, plan, x.shape[0]), of_maps(x, plan, pictures), torch.empty_like(numbers[..., 0])


def cells(x: Tensor, rows: str, columns: str, last: bool, keep: bool) -> tuple[Tensor, Tensor]:
    if x.is_cuda:
        return cells_on_gpu(x, rows, columns, last, keep)
    tall, wide = count_of(rows), count_of(columns)
    y = like(x, tall, wide, last, x.shape[0])
    number, lanes = tall * wide, lanes_of(x)
    halves = largest(rows) * largest(columns) <= 16  # two positions to a byte

    def whole(numbers: int) -> int:
        return -(-numbers // lanes) * lanes

    if last:  # a cell's channels side by side
        kept = x.shape[0] * number * (whole(x.shape[1]) // 2 if halves else x.shape[1])
    else:  # a plane's cells, or so many planes as a vector has lanes
        kept = whole(x.shape[0] * x.shape[1]) * (-(-number // 2) if halves else number)
    return y, torch.empty((kept if keep else 0, 1, 1, 1), dtype=torch.uint8, device=x.device)


def cell_switches(x: Tensor, rows: str, columns: str, last: bool) -> tuple[Tensor, Tensor, Tensor]:
    y, position = cells(x, rows, columns, last, True)
    return y, position, torch.empty_like(y, dtype=torch.int64)


def cells_on_gpu(x: Tensor, rows: str, columns: str, last: bool, keep: bool) -> tuple[Tensor, Tensor]:
    size = count_of(rows), count_of(columns), last
    return like(x, *size, x.shape[0]), like(x, *size, x.shape[0] if keep else 0, torch.uint8)


def lanes_of(x: Tensor) -> int:
    """The numbers of `x` that a kernel computes side by side; bfloat16 is computed in float32."""
    return int(torch.ops.poolbench.vector_bytes.default()) // max(x.element_size(), 4)


def count_of(edges: str) -> int:
    """The regions of an axis."""
    return len(numbers_of(edges)) // 2


def largest(edges: str) -> int:
    """The positions of the largest region of an axis."""
    places = numbers_of(edges)
    return max(last - first + 1 for first, last in zip(places[::2], places[1::2], strict=True))


def cells_taken(x: Tensor, position: Tensor, rows: str, columns: str, last: bool) -> Tensor:
    return like(x, count_of(rows), count_of(columns), last, x.shape[0])


def cells_backward(g: Tensor, position: Tensor, rows: str, columns: str, height: int, width: int, last: bool) -> Tensor:
    return like(g, height, width, last, g.shape[0])


def region_maxima(x: Tensor, picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    size = (picture.shape[0], rows.shape[2], columns.shape[2], x.shape[1])
    return torch.empty(size, dtype=torch.int64, device=x.device)


def polyphase_powers(x: Tensor, sh: int, sw: int, p: float, last: bool) -> Tensor:
    return torch.empty((x.shape[0], sh * sw, 1, 1), dtype=torch.float64, device=x.device)


def separable(x: Tensor, rows: Tensor, columns: Tensor, last: bool) -> Tensor:
    return like(x, rows.shape[0], columns.shape[0], last, x.shape[0])


FAKES = (
    *(slide, slide_keeping, switches, slide_backward, learned, learned_backward),
    *(cells, cell_switches, cells_backward, cells_taken, region_maxima, polyphase_powers, separable),
)
LIBRARY = torch.library.Library("poolbench", "FRAGMENT")


def register() -> None:
    """Tell torch; the library of kernels is loaded."""
    for fake in FAKES:
        torch.library.register_fake(f"poolbench::{fake.__name__}")(fake)
        # Functions in `operator` have the gradients; to look for others would take a part of the time of a small map.
        LIBRARY.impl(fake.__name__, torch.library.fallthrough_kernel, "Autograd")
