"""The shapes that kernels give, for torch.compile, which runs none of them."""

from collections.abc import Sequence

import torch
from torch import Tensor


def register() -> None:
    """Tell torch; the library is loaded."""
    torch.library.register_fake("poolbench::slide")(slide)
    torch.library.register_fake("poolbench::slide_backward")(slide_backward)


def _like(x: Tensor, height: int, width: int, last: int, pictures: int) -> Tensor:
    memory_format = torch.channels_last if last else torch.contiguous_format
    size = (pictures, x.shape[1], height, width)
    return torch.empty(size, dtype=x.dtype, device=x.device, memory_format=memory_format)


def slide(
    x: Tensor, extra: Tensor | None, name: str, plan: Sequence[int], number: float, keep: bool
) -> tuple[Tensor, Tensor]:
    kept = keep and name in ("max", "mixed", "stochastic")
    y = _like(x, plan[8], plan[9], plan[16], x.shape[0])
    return y, _like(x, plan[8], plan[9], plan[16], x.shape[0] if kept else 0).to(torch.uint8)


def slide_backward(
    g: Tensor,
    x: Tensor | None,
    position: Tensor | None,
    extra: Tensor | None,
    name: str,
    plan: Sequence[int],
    height: int,
    width: int,
    number: float,
) -> Tensor:
    return _like(g, height, width, plan[16], g.shape[0])
