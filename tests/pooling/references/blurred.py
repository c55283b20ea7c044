"""References of the blurred operators."""

from math import comb
from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.blurred import BORDERS, Blur, Blurred, LowPass
from tests.pooling.cases import windows
from tests.pooling.references import reference, strategy
from tests.pooling.references.fixed import pooled

MODES: dict[str, Any] = {"reflect": "reflect", "replicate": "edge", "circular": "wrap", "zero": "constant"}


def filtered(low_pass: LowPass, taps: list[float], x: np.ndarray) -> np.ndarray:
    """`x` correlated with the outer product of the taps, at the stride."""
    before, after = (len(taps) - 1) // 2, len(taps) // 2
    border = ((0, 0), (0, 0), (before, after), (before, after))
    padded = np.pad(x, border, mode=MODES[low_pass.border])
    rows, columns = ((size - 1) // stride + 1 for size, stride in zip(x.shape[2:], low_pass.stride, strict=True))
    y = np.zeros((*x.shape[:2], rows, columns))
    for i, j in np.ndindex(rows, columns):
        top, left = i * low_pass.stride[0], j * low_pass.stride[1]
        for down, a in enumerate(taps):
            for right, b in enumerate(taps):
                y[:, :, i, j] += a * b * padded[:, :, top + down, left + right]
    return y


def blurred(low_pass: LowPass, x: np.ndarray) -> np.ndarray:
    last = len(low_pass.taps) - 1
    return filtered(low_pass, [comb(last, k) / 2**last for k in range(last + 1)], x)


@reference("blur")
def blur(module: Blur, x: np.ndarray) -> np.ndarray:
    return blurred(module.low_pass, x)


@reference("max_blur")
def max_blur(module: Blurred, x: np.ndarray) -> np.ndarray:
    return blurred(module.low_pass, pooled(module.dense, x, lambda values, places, counted: values.max()))


@reference("average_blur")
def average_blur(module: Blurred, x: np.ndarray) -> np.ndarray:
    return blurred(module.low_pass, pooled(module.dense, x, lambda values, places, counted: values.sum() / counted))


def filters(draw: st.DrawFn) -> dict[str, Any]:
    return {"filter_size": draw(st.integers(1, 7)), "border": draw(st.sampled_from(list(BORDERS)))}


@strategy("blur")
@st.composite
def blurs(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("blur")))
    return options | filters(draw), shape


@strategy("max_blur")
@st.composite
def max_blurs(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("max_blur")))
    return options | filters(draw), shape


@strategy("average_blur")
@st.composite
def average_blurs(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("average_blur")))
    return options | filters(draw), shape
