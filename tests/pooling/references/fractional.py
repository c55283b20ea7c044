"""Reference of fractional max pooling in evaluation."""

from math import ceil
from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.fractional import FractionalMax
from tests.pooling.references import reference, strategy


def regions(module: FractionalMax, size: int) -> list[slice]:
    """The pseudorandom regions of u = 1/2."""
    number = max(int(size / module.ratio), 1)
    length = size - 1 if module.overlapping else size
    edges = [ceil((i + 0.5) * length / number) - ceil(0.5 * length / number) for i in range(number)] + [length]
    shared = 1 if module.overlapping else 0
    return [slice(edges[i], edges[i + 1] + shared) for i in range(number)]


@reference("fractional_max")
def fractional_max(module: FractionalMax, x: np.ndarray) -> np.ndarray:
    rows, columns = (regions(module, size) for size in x.shape[2:])
    y = np.empty((*x.shape[:2], len(rows), len(columns)))
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            y[:, :, i, j] = x[:, :, row, column].max((2, 3))
    return y


@strategy("fractional_max")
@st.composite
def ratios(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options = {
        "ratio": draw(st.floats(1, 4)),
        "pseudorandom": draw(st.booleans()),
        "overlapping": draw(st.booleans()),
    }
    side = st.integers(1, 9)
    return options, (draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(side), draw(side))
