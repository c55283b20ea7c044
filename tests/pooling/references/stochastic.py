"""References of the random operators in evaluation; their draws are tested in test_stochastic.py."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.stochastic import S3, MixedCoin, Stochastic
from poolbench.pooling.window import Local
from tests.pooling.cases import windows
from tests.pooling.references import reference, strategy
from tests.pooling.references.fixed import pooled
from tests.pooling.references.learned import by_channel
from tests.pooling.references.mixed import extremes


@reference("stochastic")
def stochastic(module: Stochastic, x: np.ndarray) -> np.ndarray:
    def expected(values: np.ndarray, places: np.ndarray, counted: int) -> float:
        values = np.maximum(values, 0)
        return np.sum(values**2) / np.sum(values) if np.any(values != 0) else 0

    return pooled(module, x, expected)


@reference("mixed_coin")
def mixed_coin(module: MixedCoin, x: np.ndarray) -> np.ndarray:
    lead = module.lead.numpy().ravel()

    def majority(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        largest, mean = extremes(values, counted)
        return largest if lead[channel] >= 0 else mean

    return by_channel(module, x, majority)


@reference("s3")
def s3(module: S3, x: np.ndarray) -> np.ndarray:
    rows, columns = module.window.stride
    dense = Local()
    dense.window = module.dense
    largest = pooled(dense, x, lambda values, places, counted: values.max(initial=-np.inf))
    y = np.empty((*x.shape[:2], -(-largest.shape[2] // rows), -(-largest.shape[3] // columns)))
    for i, j in np.ndindex(*y.shape[2:]):
        cell = largest[:, :, i * rows : (i + 1) * rows, j * columns : (j + 1) * columns]
        y[:, :, i, j] = cell.mean((2, 3))
    return y


@strategy("s3")
@st.composite
def grids(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("s3")))
    step = np.broadcast_to(options["stride"], 2)
    return options | {"grid_size": int(np.lcm(*step)) * draw(st.integers(1, 2)) if draw(st.booleans()) else None}, shape
