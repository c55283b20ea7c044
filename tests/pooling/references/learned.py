"""References of the operators with plain weights of their own."""

from collections.abc import Callable
from functools import partial

import numpy as np

from poolbench.pooling.learned import LearnedLp, Strided
from poolbench.pooling.window import Local
from tests.pooling.references import reference
from tests.pooling.references.fixed import axis, pooled

ChannelPool = Callable[[int, np.ndarray, np.ndarray, int], float]
"""A `Pool` that is told the channel first."""


def by_channel(module: Local, x: np.ndarray, pool: ChannelPool) -> np.ndarray:
    """`pooled` for an operator that does not treat all channels alike."""
    maps = [pooled(module, x[:, [channel]], partial(pool, channel)) for channel in range(x.shape[1])]
    return np.concatenate(maps, 1)


def convolved(x: np.ndarray, weight: np.ndarray, rows: list[list[int]], columns: list[list[int]]) -> np.ndarray:
    """Σ over the channels and the window, whose rows and columns in the map are given; outside it is zero."""
    groups = x.shape[1] // weight.shape[1]
    per_group = len(weight) // groups
    y = np.zeros((len(x), len(weight), len(rows), len(columns)))
    for picture, out, i, j in np.ndindex(*y.shape):
        first = out // per_group * weight.shape[1]
        for channel, r, c in np.ndindex(*weight.shape[1:]):
            row, column = rows[i][r], columns[j][c]
            if 0 <= row < x.shape[2] and 0 <= column < x.shape[3]:
                y[picture, out, i, j] += weight[out, channel, r, c] * x[picture, first + channel, row, column]
    return y


@reference("strided")
def strided(module: Strided, x: np.ndarray) -> np.ndarray:
    rows, columns = (
        [[position for _, position, _ in window] for window in axis(module, number, x.shape[2 + number])]
        for number in (0, 1)
    )
    weight, bias = module.convolution.weight, module.convolution.bias
    assert bias is not None
    return convolved(x, weight.detach().numpy(), rows, columns) + bias.detach().numpy()[:, None, None]


@reference("lp_learned")
def lp_learned(module: LearnedLp, x: np.ndarray) -> np.ndarray:
    exponents = 1 + np.log1p(np.exp(module.rho.detach().numpy().ravel()))

    def power_mean(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        p = exponents[channel % len(exponents)]
        return (np.sum(np.abs(values) ** p) / counted) ** (1 / p)

    return by_channel(module, x, power_mean)
