"""References of the power mean and the exponentially weighted mean."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.norms import Lp, SoftPool
from tests.pooling.cases import windows
from tests.pooling.references import reference, strategy
from tests.pooling.references.fixed import pooled


@reference("lp")
def lp(module: Lp, x: np.ndarray) -> np.ndarray:
    def power_mean(values: np.ndarray, places: np.ndarray, counted: int) -> float:
        if module.p == np.inf:
            return np.abs(values).max(initial=0)
        return (np.sum(np.abs(values) ** module.p) / counted) ** (1 / module.p)

    return pooled(module, x, power_mean)


@strategy("lp")
@st.composite
def powers(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("lp")))
    return options | {"p": draw(st.sampled_from([0.5, 1.0, 2.0, 3.0, 7.5, np.inf]))}, shape


@reference("softpool")
def softpool(module: SoftPool, x: np.ndarray) -> np.ndarray:
    def weighted(values: np.ndarray, places: np.ndarray, counted: int) -> float:
        largest = values.max(initial=-np.inf)
        if np.isinf(largest):
            return largest
        values = values[values != -np.inf]
        weights = np.exp(values - largest)
        return np.sum(weights * values) / np.sum(weights)

    return pooled(module, x, weighted)
