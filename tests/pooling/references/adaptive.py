"""References of the operators over bins."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.adaptive import AdaptiveAverage, AdaptiveMax
from tests.pooling.references import reference, strategy


def bins(x: np.ndarray, size: tuple[int, int]) -> dict[tuple[int, int], np.ndarray]:
    """The positions (N, C, h, w) of each bin of the grid."""
    edges = [
        [(int(np.floor(i * length / number)), int(np.ceil((i + 1) * length / number))) for i in range(number)]
        for length, number in zip(x.shape[2:], size, strict=True)
    ]
    return {
        (i, j): x[:, :, top:bottom, left:right]
        for i, (top, bottom) in enumerate(edges[0])
        for j, (left, right) in enumerate(edges[1])
    }


@reference("adaptive_average")
def average(module: AdaptiveAverage, x: np.ndarray) -> np.ndarray:
    y = np.empty((*x.shape[:2], *module.size))
    for (i, j), values in bins(x, module.size).items():
        y[:, :, i, j] = values.mean((2, 3))
    return y


@reference("adaptive_max")
def maximum(module: AdaptiveMax, x: np.ndarray) -> np.ndarray:
    y = np.empty((*x.shape[:2], *module.size))
    for (i, j), values in bins(x, module.size).items():
        y[:, :, i, j] = values.max((2, 3))
    return y


@strategy("adaptive_average")
@strategy("adaptive_max")
@st.composite
def sizes(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    size, side = st.integers(1, 9), st.integers(1, 9)
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(side), draw(side))
    return {"output_size": draw(size | st.tuples(size, size))}, shape
