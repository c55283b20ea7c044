"""References of the fixed operators, and the walk over windows that local references share."""

from collections.abc import Callable

import numpy as np

from poolbench.pooling.fixed import Average, Max, Median, Subsample
from poolbench.pooling.window import Local
from tests.pooling.references import reference

Pool = Callable[[np.ndarray, np.ndarray, int], float]
"""From the values of a window's positions in the map, their places in the window, and how many positions count."""


def axis(module: Local, number: int, size: int) -> list[list[tuple[int, int, bool]]]:
    """For each window along an axis: its positions in the window and in the map, and whether the padding holds them."""
    window = module.window
    kernel, stride, dilation = window.kernel[number], window.stride[number], window.dilation[number]
    extent = dilation * (kernel - 1) + 1
    if window.padding is None:
        count = -(-size // stride)
        before = max((count - 1) * stride + extent - size, 0) // 2
        end = size + extent
    else:
        before = window.padding[number]
        end = size + before
        starts = range(-before, end, stride)
        whole = [start for start in starts if start + extent <= end]
        count = len(whole)
        last = -before + count * stride
        if window.ceil_mode and whole[-1] + extent < end and last < size:
            count += 1
    return [
        [
            (place, index * stride - before + place * dilation, index * stride - before + place * dilation < end)
            for place in range(kernel)
        ]
        for index in range(count)
    ]


def pooled(module: Local, x: np.ndarray, pool: Pool) -> np.ndarray:
    """`pool` of every window of every map; outside positions are left out of the values, padding is counted."""
    height, width = x.shape[2:]
    rows, columns = axis(module, 0, height), axis(module, 1, width)
    y = np.empty((*x.shape[:2], len(rows), len(columns)))
    for picture, channel, i, j in np.ndindex(*y.shape):
        values, places, counted = [], [], 0
        for place_row, row, row_counts in rows[i]:
            for place_column, column, column_counts in columns[j]:
                counted += row_counts and column_counts
                if 0 <= row < height and 0 <= column < width:
                    values.append(x[picture, channel, row, column])
                    places.append(place_row * len(columns[j]) + place_column)
        y[picture, channel, i, j] = pool(np.array(values), np.array(places), counted)
    return y


@reference("max")
@reference("overlapping_max")
def maximum(module: Max, x: np.ndarray) -> np.ndarray:
    return pooled(module, x, lambda values, places, counted: values.max(initial=-np.inf))


@reference("average")
@reference("overlapping_average")
def average(module: Average, x: np.ndarray) -> np.ndarray:
    def mean(values: np.ndarray, places: np.ndarray, counted: int) -> float:
        return values.sum() / (counted if module.count_include_pad else len(values))

    return pooled(module, x, mean)


@reference("median")
def median(module: Median, x: np.ndarray) -> np.ndarray:
    return pooled(module, x, lambda values, places, counted: float(np.median(values)) if len(values) else 0)


@reference("subsample")
def subsample(module: Subsample, x: np.ndarray) -> np.ndarray:
    rows, columns = module.window.kernel
    centre = (rows - 1) // 2 * columns + (columns - 1) // 2
    return pooled(module, x, lambda values, places, counted: values[places == centre].sum())
