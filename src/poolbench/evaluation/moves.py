"""Pictures moved on their device: whole shifts are views of one padded copy, all others are interpolated from it."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

Move = tuple[float, ...]
"""What a motion takes: (dy, dx) in pixels, down and to the right, (degrees,) or (factor,)."""

Motion = Callable[[Tensor, Sequence[Move]], Iterator[Tensor]]
"""Pictures (N, C, H, W) and moves to the moved pictures, one batch (N, C, H, W) a move."""


def circular(images: Tensor, moves: Sequence[Move]) -> Iterator[Tensor]:
    """Shifts on a torus: what leaves on one side enters at the other; between pixels, bilinear.

    >>> [moved.flatten().tolist() for moved in circular(torch.tensor([[[[1, 2, 3]]]]), [(0, 1), (0, 0.5)])]
    [[3, 1, 2], [2.0, 1.5, 2.5]]
    """
    sides = images.shape[2:]
    near = [tuple(_nearest(step, side) for step, side in zip(move, sides, strict=True)) for move in moves]
    rows, columns = (_reach(near, axis) for axis in range(2))
    for axis, reach in ((2, rows), (3, columns)):
        places = torch.arange(-reach, images.shape[axis] + reach, device=images.device) % images.shape[axis]
        images = images.index_select(axis, places)
    yield from _windows(images, near, (rows, columns), sides)


def crop(images: Tensor, moves: Sequence[Move], fill: Tensor | float = 0.0) -> Iterator[Tensor]:
    """Shifts out of the frame: what leaves is lost and `fill` (a number, or one a channel) enters; bilinear between.

    >>> [moved.flatten().tolist() for moved in crop(torch.tensor([[[[1, 2, 3]]]]), [(0, 1), (0, -2)])]
    [[0, 1, 2], [3, 0, 0]]
    """
    rows, columns = (_reach(moves, axis) for axis in range(2))
    sides = images.shape[2:]
    border = (columns, columns, rows, rows)
    padded = F.pad(images, border)
    if (ground := _ground(images, fill)).any():  # black needs no copy of the pictures in float32
        padded = F.pad(images - ground, border) + ground
    yield from _windows(padded, moves, (rows, columns), sides)


def fourier(images: Tensor, moves: Sequence[Move]) -> Iterator[Tensor]:
    """Shifts on a torus that lose nothing: each frequency turned by its phase, the highest of an even size halved.

    >>> [moved] = fourier(torch.tensor([[[[1., 2., 3.]]]]), [(0, 1)])
    >>> moved.flatten().round(decimals=4).tolist()
    [3.0, 1.0, 2.0]
    """
    height, width = images.shape[2:]
    spectrum = torch.fft.fft2(images.float())
    for dy, dx in moves:
        turn = _phases(height, dy, images.device)[:, None] * _phases(width, dx, images.device)
        yield torch.fft.ifft2(spectrum * turn).real


def rotation(images: Tensor, moves: Sequence[Move], fill: Tensor | float = 0.0) -> Iterator[Tensor]:
    """Turns about the centre by degrees, counterclockwise; bilinear, `fill` enters at the corners."""
    for (degrees,) in moves:
        sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        ratio = images.shape[2] / images.shape[3]
        yield _warped(images, [[cosine, -sine * ratio, 0], [sine / ratio, cosine, 0]], fill)


def scaling(images: Tensor, moves: Sequence[Move], fill: Tensor | float = 0.0) -> Iterator[Tensor]:
    """Sizes about the centre: a factor above 1 enlarges; bilinear, `fill` enters around what became smaller."""
    for (factor,) in moves:
        yield _warped(images, [[1 / factor, 0, 0], [0, 1 / factor, 0]], fill)


def _nearest(step: float, side: int) -> float:
    """The shift of least length that comes to the same on a circle of `side` pixels."""
    return (step + side / 2) % side - side / 2


def _reach(moves: Sequence[Move], axis: int) -> int:
    """Pixels that a picture needs on either side for the farthest of these shifts."""
    return max((math.ceil(abs(move[axis])) for move in moves), default=0)


def _windows(padded: Tensor, moves: Sequence[Move], reach: tuple[int, int], sides: Sequence[int]) -> Iterator[Tensor]:
    def window(dy: int, dx: int) -> Tensor:
        return padded[:, :, reach[0] - dy :, reach[1] - dx :][:, :, : sides[0], : sides[1]]

    for dy, dx in moves:
        top, left = math.floor(dy), math.floor(dx)
        weights = {
            (top + down, left + right): (dy - top if down else 1 - dy + top) * (dx - left if right else 1 - dx + left)
            for down in (0, 1)
            for right in (0, 1)
        }
        weights = {place: weight for place, weight in weights.items() if weight}
        if len(weights) == 1:
            yield window(*next(iter(weights)))
        else:
            parts = [weight * window(*place) for place, weight in weights.items()]
            yield torch.stack(parts).sum(0)


def _phases(size: int, step: float, device: torch.device) -> Tensor:
    frequencies = torch.fft.fftfreq(size, device=device)
    turn = torch.polar(torch.ones_like(frequencies), -2 * math.pi * step * frequencies)
    if size % 2 == 0:  # it has no partner of the other sign that would keep the picture real
        turn[size // 2] = math.cos(math.pi * step)
    return turn


def _warped(images: Tensor, matrix: list[list[float]], fill: Tensor | float) -> Tensor:
    theta = torch.tensor(matrix, device=images.device).expand(len(images), 2, 3)
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    ground = _ground(images, fill)
    return F.grid_sample(images.float() - ground, grid, align_corners=False) + ground


def _ground(images: Tensor, fill: Tensor | float) -> Tensor:
    return torch.as_tensor(fill, device=images.device).reshape(-1, 1, 1)
