"""How shifts are measured: the published protocols, as published, and ours."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from poolbench.evaluation import moves
from poolbench.evaluation.moves import Motion, Move
from poolbench.naming import unknown

DRAWN = 64
"""Of a published protocol with more moves, so many are drawn, from a seed."""


@dataclass(frozen=True)
class Protocol:
    """One way of measuring. `moves` says which ones it takes, for a range and pictures of so many rows and columns."""

    name: str
    title: str
    motion: Callable[..., Iterator[Tensor]]
    moves: Callable[[int, int, int], list[Move]]
    caveat: str
    figure: str = "pairwise_agreement"
    """The one of its figures that the authors give."""
    identical_pairs: bool = False
    """Whether the two moves of a pair are drawn apart, so that they may be the same."""
    fills: bool = False
    """Whether what enters is what the model's normalisation maps to 0, instead of black."""
    published: bool = True

    def chosen(self, radius: int, height: int, width: int) -> list[Move]:
        """Its moves; a published protocol's, where they are very many, by lot."""
        if min(height, width) < 2:
            raise ValueError(f"pictures of {height} x {width} pixels cannot be shifted: give them 2 or more each way")
        every = self.moves(radius, height, width)
        if not self.published or len(every) <= DRAWN:
            return every
        order = torch.randperm(len(every), generator=torch.Generator().manual_seed(0))
        return [every[index] for index in order[:DRAWN].sort().values.tolist()]

    def moving(self, fill: Tensor | float) -> Motion:
        """Its motion, with `fill` for what enters where it normalises first."""
        return partial(self.motion, fill=fill) if self.fills else partial(self.motion)


def protocol(name: str) -> Protocol:
    """A protocol by its name. Raises ValueError for an unknown one.

    >>> protocol("aps_circular").chosen(3, 28, 28)[:2]
    [(-3, -3), (-3, -2)]
    """
    if name not in PROTOCOLS:
        raise unknown("shift protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


def _grid(low: int, high: int) -> list[Move]:
    steps = range(low, high + 1)
    return [(dy, dx) for dy in steps for dx in steps]


def _within(radius: int, largest: int, height: int, width: int) -> None:
    if not 1 <= radius <= largest:
        raise ValueError(
            f"shift.range must be from 1 to {largest} for pictures of {height} x {width} pixels, got {radius}"
        )


def _every(largest: Callable[[int], int]) -> Callable[[int, int, int], list[Move]]:
    """Every shift of a range but none at all, where the range is no larger than `largest` of the shorter side."""

    def shifts(radius: int, height: int, width: int) -> list[Move]:
        _within(radius, largest(min(height, width)), height, width)
        return [move for move in _grid(-radius, radius) if any(move)]

    return shifts


def _quarters(radius: int, height: int, width: int) -> list[Move]:
    return [(dy / 4, dx / 4) for dy, dx in _grid(-3, 3) if dy or dx]


def _fixed(side: int, low: int, high: int) -> Callable[[int, int, int], list[Move]]:
    """The same grid whatever the range, for pictures of `side` pixels or more."""

    def shifts(radius: int, height: int, width: int) -> list[Move]:
        _demand(min(height, width) >= side, side, height, width)
        return _grid(low, high)

    return shifts


def _demand(met: bool, side: int, height: int, width: int) -> None:
    if not met:
        raise ValueError(
            f"pictures of {height} x {width} pixels are too small for this shift protocol, which needs {side}: "
            "choose circular or crop"
        )


def _margin(height: int, width: int) -> int:
    """Zhang's margin of 16 pixels on either side of 224, in proportion."""
    margin = round(min(height, width) / 14)
    _demand(margin > 0, 8, height, width)
    return margin


def _zhang(radius: int, height: int, width: int) -> list[Move]:
    margin = _margin(height, width)
    return _grid(1 - margin, margin)  # his draw leaves the last offset out


def _diagonal(radius: int, height: int, width: int) -> list[Move]:
    margin = _margin(height, width)
    return [(step, step) for step in range(-margin, margin + 1)]


def _engstrom(radius: int, height: int, width: int) -> list[Move]:
    farthest = 3 * min(height, width) // 28
    _demand(farthest > 0, 10, height, width)
    return [(dy * farthest / 2, dx * farthest / 2) for dy, dx in _grid(-2, 2)]


def _torus(radius: int, height: int, width: int) -> list[Move]:
    return _grid(0, 63)


EXPECTED = (
    "The authors draw pairs, one offset for a whole batch; here is the mean over every pair, which has no luck in it"
)

PROTOCOLS = {
    each.name: each
    for each in (
        Protocol(
            "circular",
            "Every circular shift",
            moves.circular,
            _every(lambda side: (side - 1) // 2),
            "A roll brings no picture's border into sight that a camera would; with zero padding it moves the seam",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "crop",
            "Every shift out of the frame",
            moves.crop,
            _every(lambda side: side - 1),
            "What leaves is lost and black enters, so part of the change is the picture's, not the network's",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "fourier",
            "Sub-pixel shifts, Fourier",
            moves.fourier,
            _quarters,
            "Every quarter of a pixel below one, on a torus; rings at edges, and leaves the range 0 to 255 there",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "bilinear",
            "Sub-pixel shifts, bilinear",
            moves.circular,
            _quarters,
            "Every quarter of a pixel below one, on a torus; bilinear interpolation blurs what it moves",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "rotation",
            "Small rotations",
            moves.rotation,
            lambda radius, height, width: [(degrees,) for degrees in (-15, -10, -5, 5, 10, 15)],
            "5, 10 and 15 degrees either way about the centre, bilinear, black corners",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "scaling",
            "Small scalings",
            moves.scaling,
            lambda radius, height, width: [(factor,) for factor in (0.8, 0.9, 1.1, 1.2)],
            "Factors 0.8 to 1.2 about the centre, bilinear, black border",
            figure="consistency",
            published=False,
        ),
        Protocol(
            "zhang2019",
            "Zhang 2019",
            moves.crop,
            _zhang,
            f"{EXPECTED}. His 32 offsets are a margin of 256-pixel pictures; these have none, so black enters, and the "
            "margin is in proportion to the side. An identical pair counts as agreement",
            identical_pairs=True,
        ),
        Protocol(
            "zhang2019_diagonal",
            "Zhang 2019, diagonal",
            moves.crop,
            _diagonal,
            "His 33 crops are of 256-pixel pictures; here as many as the margin in proportion to the side has, black "
            "enters. The figure is the variation of the true class's probability",
            figure="probability_variation",
        ),
        Protocol(
            "aps_circular",
            "Chaman & Dokmanić 2021, circular",
            moves.circular,
            _fixed(7, -3, 2),
            f"{EXPECTED}. 1 in 36 pairs is identical and inflates the score; meant for circular convolution padding",
            identical_pairs=True,
        ),
        Protocol(
            "aps_crop",
            "Chaman & Dokmanić 2021, crop",
            moves.crop,
            _fixed(7, -3, 3),
            f"{EXPECTED}. Pads by 3 after normalisation, so that the mean colour enters, not black. "
            "1 in 49 pairs is identical",
            identical_pairs=True,
            fills=True,
        ),
        Protocol(
            "engstrom_grid",
            "Engstrom et al. 2019, grid",
            moves.crop,
            _engstrom,
            "The 25 translations of their 775 transformations, without the 31 rotations; up to 3 of 28 pixels, between "
            "pixels bilinear, the picture in place among them. The figure is the accuracy at the worst of them",
            figure="worst_accuracy",
        ),
        Protocol(
            "lps",
            "Rojas-Gómez et al. 2022",
            moves.circular,
            _torus,
            f"Two rolls of 0 to 63 pixels each way, which go round small pictures more than once; {DRAWN} of the 4,096 "
            "are drawn, from a seed, and all their pairs compared. 1 in 4,096 pairs is identical",
            identical_pairs=True,
        ),
    )
}
