"""Shapes drawn from a seed: a data set of any size that needs no network and can be made harder at will."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from poolbench.data.config import SHAPE_NAMES, ShapesConfig
from poolbench.data.store import Contents, Split

Array = NDArray[np.float64]
RADIUS = 0.34  # of an unscaled shape, as a share of the picture's side
PIXELS_AT_ONCE = 2**21  # bounds the memory that a draw takes


def _disc(x: Array, y: Array) -> Array:
    return 1 - np.hypot(x, y)


def _square(x: Array, y: Array) -> Array:
    return 0.8 - np.maximum(abs(x), abs(y))


def _triangle(x: Array, y: Array) -> Array:
    return 0.5 - np.maximum(y, abs(x) * np.sqrt(0.75) - y / 2)


def _cross(x: Array, y: Array) -> Array:
    return np.minimum(0.3 - np.minimum(abs(x), abs(y)), 0.95 - np.maximum(abs(x), abs(y)))


def _ring(x: Array, y: Array) -> Array:
    return 0.25 - abs(np.hypot(x, y) - 0.75)


def _star(x: Array, y: Array) -> Array:
    return 0.65 + 0.35 * np.cos(5 * np.arctan2(x, -y)) - np.hypot(x, y)


def _bar(x: Array, y: Array) -> Array:
    return np.minimum(0.3 - abs(y), 0.95 - abs(x))


def _crescent(x: Array, y: Array) -> Array:
    return np.minimum(1 - np.hypot(x, y), np.hypot(x - 0.5, y) - 0.75)


# Each is how far inside the shape a point is, in units of the shape's radius; negative is outside.
INSIDE: dict[str, Callable[[Array, Array], Array]] = {
    "disc": _disc,
    "square": _square,
    "triangle": _triangle,
    "cross": _cross,
    "ring": _ring,
    "star": _star,
    "bar": _bar,
    "crescent": _crescent,
}
assert tuple(INSIDE) == SHAPE_NAMES


def read(config: ShapesConfig, root: Path) -> Contents[Split]:
    """Both splits, drawn: images uint8 (N, channels, size, size). The same seed draws the same pictures."""
    train, test = (
        _draw(config, count, np.random.default_rng([config.seed, part]))
        for part, count in enumerate((config.train, config.test))
    )
    return Contents(train, test, list(SHAPE_NAMES[: config.classes]), f"drawn from seed {config.seed}")


def _draw(config: ShapesConfig, count: int, random: np.random.Generator) -> Split:
    labels = random.permutation(np.arange(count) % config.classes)
    step = max(1, PIXELS_AT_ONCE // config.size**2)
    images = np.concatenate([_pictures(config, labels[at : at + step], random) for at in range(0, count, step)])
    return Split(torch.from_numpy(images), torch.from_numpy(labels))


def _pictures(config: ShapesConfig, labels: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.uint8]:
    """One picture a label, uint8 (N, C, H, W): a dark ground, bars of any brightness on it, one bright shape on top."""
    count = len(labels)
    picture = _colours(config, count, random, 0.0, 0.35) * np.ones((1, 1, config.size, config.size))
    for _ in range(config.clutter):
        place = _place(random, count, room=1.0, scale=0.6, rotation=180.0)
        cover = _cover(_bar(*_axes(config.size, *place)), config.size * place[2])
        picture += cover * (_colours(config, count, random, 0.15, 0.5) - picture)
    place = _place(random, count, room=config.position, scale=config.scale, rotation=config.rotation)
    x, y = _axes(config.size, *place)
    inside = np.empty_like(x)
    for label, name in enumerate(SHAPE_NAMES[: config.classes]):
        inside[labels == label] = INSIDE[name](x[labels == label], y[labels == label])
    picture += _cover(inside, config.size * place[2]) * (_colours(config, count, random, 0.6, 1.0) - picture)
    picture += config.noise * random.standard_normal(picture.shape)
    return np.rint(255 * picture.clip(0, 1)).astype(np.uint8)


def _colours(config: ShapesConfig, count: int, random: np.random.Generator, low: float, high: float) -> Array:
    return random.uniform(low, high, (count, config.channels, 1, 1))


def _place(
    random: np.random.Generator, count: int, room: float, scale: float, rotation: float
) -> tuple[Array, Array, Array, Array]:
    """Centre x and y, radius (the picture spans 0..1) and angle (radians), each (N, 1, 1)."""
    shape = (count, 1, 1)
    radius = RADIUS * random.uniform(1 - scale, 1 + scale, shape)
    free = room * (0.5 - radius)
    centre_x, centre_y = (0.5 + free * random.uniform(-1, 1, shape) for _ in range(2))
    return centre_x, centre_y, radius, np.deg2rad(rotation) * random.uniform(-1, 1, shape)


def _axes(size: int, centre_x: Array, centre_y: Array, radius: Array, angle: Array) -> tuple[Array, Array]:
    """Every pixel's position in the frame of a shape: its centre is the origin, its radius the unit; (N, H, W)."""
    grid = (np.arange(size) + 0.5) / size
    right, down = (grid - centre_x) / radius, (grid[:, None] - centre_y) / radius
    return np.cos(angle) * right + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * right


def _cover(inside: Array, pixels: Array) -> Array:
    """How much of each pixel is covered, (N, 1, H, W): the edge is one pixel wide, and a radius is `pixels` long."""
    return (inside * pixels + 0.5).clip(0, 1)[:, None]
