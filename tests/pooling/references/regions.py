"""References of the region operators: boxes (K, 5) are the picture, then x1, y1, x2, y2 in its pixels."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.regions import CropAndResize, Region, RoIAlign, RoIPool
from tests.pooling.references import reference, strategy

Case = tuple[dict[str, Any], tuple[int, ...]]


def options(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    size = st.one_of(st.integers(1, 4), st.tuples(st.integers(1, 4), st.integers(1, 4)))
    scale = st.sampled_from([0.25, 0.5, 1.0, 1.7])
    shape = st.tuples(st.integers(0, 2), st.integers(1, 2), st.integers(1, 9), st.integers(1, 9))
    return st.tuples(st.fixed_dictionaries({"output_size": size, "spatial_scale": scale, **values}), shape)


def grids(module: Region, x: np.ndarray, boxes: np.ndarray, cell: Callable[..., float]) -> np.ndarray:
    """`cell` of every map under every box; it is given (y1, x1), (y2, x2) in pixels of the map, and its place."""
    y = np.empty((len(boxes), x.shape[1], *module.size))
    for k, c, i, j in np.ndindex(*y.shape):
        x1, y1, x2, y2 = boxes[k, 1:] * module.spatial_scale
        y[k, c, i, j] = cell(x[int(boxes[k, 0]), c], (y1, x1), (y2, x2), (i, j))
    return y


def taps(position: float, length: int, first: float, last: float) -> list[tuple[int, float]]:
    """Pixels and weights of a linear sample; the position is clamped, and weighs nothing beyond `first` to `last`."""
    inside = first <= position <= last
    position = min(max(position, 0), length - 1)
    low = math.floor(position)
    share = position - low
    return [(low, (1 - share) * inside), (min(low + 1, length - 1), share * inside)]


def weighted(x: np.ndarray, rows: list[tuple[int, float]], columns: list[tuple[int, float]]) -> float:
    return sum(a * b * x[row, column] for row, a in rows for column, b in columns)


@strategy("roi_align")
def roi_align_options() -> st.SearchStrategy[Case]:
    return options(sampling_ratio=st.integers(1, 3), aligned=st.booleans())


@reference("roi_align")
def roi_align(module: RoIAlign, x: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    ratio = module.sampling_ratio

    def samples(first: float, last: float, length: int, cell: int, cells: int) -> Iterator[list[tuple[int, float]]]:
        side = last - first if module.aligned else max(last - first, 1)
        for sample in range(ratio):
            position = first + side * (cell + (sample + 0.5) / ratio) / cells
            yield taps(position - 0.5 if module.aligned else position, length, -1, length)

    def cell(x: np.ndarray, first: Any, last: Any, place: Any) -> float:
        rows, columns = (
            list(samples(first[axis], last[axis], x.shape[axis], place[axis], module.size[axis])) for axis in (0, 1)
        )
        return sum(weighted(x, row, column) for row in rows for column in columns) / ratio**2

    return grids(module, x, boxes, cell)


@strategy("crop_and_resize")
def crop_and_resize_options() -> st.SearchStrategy[Case]:
    return options()


@reference("crop_and_resize")
def crop_and_resize(module: CropAndResize, x: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    def cell(x: np.ndarray, first: Any, last: Any, place: Any) -> float:
        sides = []
        for axis in (0, 1):
            cells, length = module.size[axis], x.shape[axis]
            share = place[axis] / (cells - 1) if cells > 1 else 0.5
            sides.append(taps(first[axis] + share * (last[axis] - first[axis]), length, 0, length - 1))
        return weighted(x, *sides)

    return grids(module, x, boxes, cell)


@strategy("roi_pool")
def roi_pool_options() -> st.SearchStrategy[Case]:
    return options()


def whole(edge: float) -> int:
    """The nearest pixel; a half goes away from 0, as C rounds."""
    return int(math.copysign(math.floor(abs(edge) + 0.5), edge))


@reference("roi_pool")
def roi_pool(module: RoIPool, x: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    def cell(x: np.ndarray, first: Any, last: Any, place: Any) -> float:
        axes = []
        for axis in (0, 1):
            start, cells = whole(first[axis]), module.size[axis]
            side = max(whole(last[axis]) - start + 1, 1)
            low, high = place[axis] * side // cells, -(-(place[axis] + 1) * side // cells)
            axes.append([p for p in range(start + low, start + high) if 0 <= p < x.shape[axis]])
        values = [x[row, column] for row in axes[0] for column in axes[1]]
        return float(np.max(values)) if values else 0.0

    return grids(module, x, boxes, cell)
