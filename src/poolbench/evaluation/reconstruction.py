"""What a pooling operator keeps of a map: how well the map before it is rebuilt from the map after it."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from poolbench.evaluation.linear import explained, ridge

REACH = 1
"""How many cells either way a pixel is rebuilt from, besides its own."""
PENALTY = 1e-8


def cell_side(before: Sequence[int], after: Sequence[int]) -> int | None:
    """The side of the square of positions that each position of the map after stands for; None where there is none.

    >>> cell_side((14, 28), (7, 14)), cell_side((7, 7), (3, 3))
    (2, None)
    """
    side = before[0] // after[0]
    return side if [side * size for size in after] == list(before) else None


def reconstruction(before: Tensor, after: Tensor) -> float:
    """The share of the variance of `before` (N, C, H, W) that a linear reader of `after` (N, C', H', W') rebuilds.

    Every pixel of a cell (as many of `before` as one of `after` stands for) is rebuilt from all channels of the 3 x 3
    positions of `after` about the cell, the edge continued. The reader is fitted by least squares on the first half of
    the pictures, and the share, R², is that of the other half: 1 where nothing is lost. Raises ValueError where the
    cells are not square, or the pictures fewer than two.

    >>> import torch
    >>> x = torch.rand(8, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    >>> round(reconstruction(x, F.pixel_unshuffle(x, 2)), 6)
    1.0
    """
    side = cell_side(before.shape[2:], after.shape[2:])
    if side is None:
        sizes = " and ".join(f"{height} x {width}" for height, width in (before.shape[2:], after.shape[2:]))
        raise ValueError(f"maps of {sizes} positions have no square cells in common: take a map of even size")
    if len(before) < 2:
        raise ValueError(f"reconstruction needs pictures to fit on and others to measure on, got {len(before)}")
    squares = F.pixel_unshuffle(before.double(), side).movedim(1, 3)
    around = F.unfold(F.pad(after.double(), [REACH] * 4, mode="replicate"), 2 * REACH + 1)
    readings = around.mT.unflatten(1, after.shape[2:])
    half = len(before) // 2
    (x, y), (seen, truth) = (
        (readings[part].flatten(0, 2), squares[part].flatten(0, 2)) for part in (slice(half), slice(half, None))
    )
    return explained(ridge(x, y, PENALTY)(seen), truth, y.mean(0))
