"""References of the polyphase operators."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.polyphase import APS, LPS, Polyphase
from tests.pooling.references import reference, strategy
from tests.pooling.references.learned import convolved
from tests.pooling.references.merging import maps


def components(module: Polyphase, picture: np.ndarray) -> list[np.ndarray]:
    """The polyphase components (C, h, w) of a picture, blurred and then wrapped around, row by row."""
    taps = module.low_pass.taps.numpy()
    for axis in (1, 2):
        picture = sum(tap * np.roll(picture, (len(taps) - 1) // 2 - k, axis) for k, tap in enumerate(taps))
    (rows, columns), (height, width) = module.window.stride, picture.shape[1:]
    down = [[(row + i * rows) % height for i in range(-(-height // rows))] for row in range(rows)]
    across = [[(column + j * columns) % width for j in range(-(-width // columns))] for column in range(columns)]
    return [picture[:, row][:, :, column] for row in down for column in across]


@reference("aps")
def aps(module: APS, x: np.ndarray) -> np.ndarray:
    def norm(component: np.ndarray) -> float:
        return float(np.linalg.norm(component.ravel(), module.p))

    return best(module, x, norm, lambda norms, picture: norms.max())


@reference("lps")
def lps(module: LPS, x: np.ndarray) -> np.ndarray:
    first, second = (each.detach().numpy() for each in (module.first, module.second))

    def circular(component: np.ndarray, weight: np.ndarray) -> np.ndarray:
        around = [
            [[place % size for place in (middle - 1, middle, middle + 1)] for middle in range(size)]
            for size in component.shape[2:]
        ]
        return convolved(component, weight, *around)

    def score(component: np.ndarray) -> float:
        return circular(np.maximum(circular(component[None], first), 0), second).mean()

    def size(scores: np.ndarray, picture: np.ndarray) -> float:
        """No sum on the way is larger."""
        hidden = np.abs(picture).max() * np.abs(first).sum((1, 2, 3))
        return np.abs(second).sum((2, 3)).mean(0) @ hidden

    return best(module, x, score, size)


def best(module: Polyphase, x: np.ndarray, score: Any, size: Any) -> np.ndarray:
    """The component of the highest score for each picture, the first of those that are as high but for rounding."""
    rows, columns = module.window.stride
    y = np.empty((*x.shape[:2], -(-x.shape[2] // rows), -(-x.shape[3] // columns)))
    for number, picture in enumerate(x):
        parts = components(module, picture)
        scores = np.array([score(part) for part in parts])
        y[number] = parts[int(np.argmax(scores >= scores.max() - 1e-12 * size(scores, picture)))]
    return y


@strategy("aps")
@st.composite
def norms(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options = {
        "stride": draw(st.integers(1, 4) | st.tuples(st.integers(1, 4), st.integers(1, 4))),
        "p": draw(st.sampled_from([1.0, 2.0, 3.5, np.inf])),
        "filter_size": draw(st.integers(1, 3)),
    }
    return options, draw(maps())


@strategy("lps")
@st.composite
def scores(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    return {"stride": draw(st.integers(1, 3)), "hidden": draw(st.none() | st.integers(1, 3))}, draw(maps())
