"""References of the operators whose weights depend on what the window holds."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.attention import LIP, AdaPool, DetailPreserving, Ordinal
from poolbench.pooling.window import Local
from tests.pooling.cases import windows
from tests.pooling.references import reference, strategy
from tests.pooling.references.fixed import pooled
from tests.pooling.references.learned import by_channel, convolved
from tests.pooling.references.mixed import sigmoid


def filled(module: Local, values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """All positions of a window, zeros in the padding."""
    window = np.zeros(module.window.kernel[0] * module.window.kernel[1])
    window[places] = values
    return window


@reference("lip")
def lip(module: LIP, x: np.ndarray) -> np.ndarray:
    weight, scale, shift = (each.detach().numpy() for each in (module.weight, module.scale, module.shift))
    rows, columns = ([[place - 1, place, place + 1] for place in range(size)] for size in x.shape[2:])
    raw = convolved(x, weight, rows, columns)
    normal = (raw - raw.mean((2, 3), keepdims=True)) / np.sqrt(raw.var((2, 3), keepdims=True) + 1e-5)
    importance = np.exp(12 * sigmoid(normal * scale + shift))
    total, weights = (
        pooled(module, each, lambda values, places, counted: values.sum()) for each in (importance * x, importance)
    )
    return total / weights


@reference("detail_preserving")
def detail_preserving(module: DetailPreserving, x: np.ndarray) -> np.ndarray:
    alpha, power = (np.exp(each.detach().numpy().ravel()) for each in (module.log_alpha, module.log_lambda))

    def preserved(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        window = filled(module, values, places)
        difference = window - window.mean()
        if module.reward == "asymmetric":
            difference = np.maximum(difference, 0)
        weights = alpha[channel] + np.sqrt(difference**2 + 1e-3) ** power[channel]
        return np.sum(weights * window) / np.sum(weights)

    return by_channel(module, x, preserved)


@strategy("detail_preserving")
@st.composite
def rewards(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("detail_preserving")))
    return options | {"reward": draw(st.sampled_from(["symmetric", "asymmetric"]))}, shape


@reference("adapool")
def adapool(module: AdaPool, x: np.ndarray) -> np.ndarray:
    betas = sigmoid(module.logit.detach().numpy().ravel())

    def blend(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        window, beta = filled(module, values, places), betas[channel % len(betas)]
        mean = window.mean()
        squares = window**2 + mean**2
        alike = np.exp(2 * np.abs(window * mean) / np.where(squares == 0, 1, squares))
        large = np.exp(window)
        return beta * np.sum(alike * window) / np.sum(alike) + (1 - beta) * np.sum(large * window) / np.sum(large)

    return by_channel(module, x, blend)


@reference("ordinal")
def ordinal(module: Ordinal, x: np.ndarray) -> np.ndarray:
    weights = np.exp(module.logits.detach().numpy()[..., 0, 0].T)
    weights = weights / weights.sum(1, keepdims=True)

    def by_rank(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        return weights[channel % len(weights)] @ np.sort(filled(module, values, places))[::-1]

    return by_channel(module, x, by_rank)
