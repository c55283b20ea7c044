"""References of the context operators."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch import nn

from poolbench.pooling.context import ASPP, SPPF, PyramidPooling
from tests.pooling.references import reference, strategy
from tests.pooling.references.heads import binned, numbers

Case = tuple[dict[str, Any], tuple[int, ...]]


def shapes(channels: int = 1) -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(st.integers(0, 2), st.integers(channels, 5), st.integers(1, 6), st.integers(1, 6))


def convolution(layers: Any, x: np.ndarray) -> np.ndarray:
    """Convolution, batch norm by the running statistics, activation, of one picture (C, H, W)."""
    layer, norm, activation = layers
    weight, (_, height, width) = numbers(layer.weight), x.shape
    y = np.zeros((len(weight), height, width))
    middle = weight.shape[2] // 2
    for i, j in np.ndindex(height, width):
        for a, b in np.ndindex(*weight.shape[2:]):
            row, column = i + (a - middle) * layer.dilation[0], j + (b - middle) * layer.dilation[1]
            if 0 <= row < height and 0 <= column < width:
                y[:, i, j] += weight[:, :, a, b] @ x[:, row, column]
    for c in range(len(y)):
        mean, variance = numbers(norm.running_mean)[c], numbers(norm.running_var)[c]
        y[c] = (y[c] - mean) / np.sqrt(variance + norm.eps) * numbers(norm.weight)[c] + numbers(norm.bias)[c]
    return np.maximum(y, 0) if isinstance(activation, nn.ReLU) else y / (1 + np.exp(-y))


def pictures(function: Any, x: np.ndarray, channels: int) -> np.ndarray:
    """A function of each picture, stacked."""
    return np.reshape([function(picture) for picture in x], (len(x), channels, *x.shape[2:]))


@strategy("aspp")
def aspp_options() -> st.SearchStrategy[Case]:
    rates = st.lists(st.integers(1, 3), min_size=1, max_size=2).map(tuple)
    return st.tuples(st.fixed_dictionaries({"out_channels": st.integers(1, 3), "rates": rates}), shapes())


@reference("aspp")
def aspp(module: ASPP, x: np.ndarray) -> np.ndarray:
    def one(picture: np.ndarray) -> np.ndarray:
        near = [convolution(branch, picture) for branch in module.branches]
        mean = convolution(module.image, picture.mean((1, 2), keepdims=True))
        return convolution(module.project, np.concatenate([*near, mean + np.zeros_like(near[0])]))

    return pictures(one, x, len(numbers(module.project[0].weight)))


@strategy("ppm")
def ppm_options() -> st.SearchStrategy[Case]:
    levels = st.lists(st.integers(1, 4), min_size=1, max_size=2).map(tuple)
    return st.tuples(st.fixed_dictionaries({"levels": levels}), shapes(channels=2))


def stretched(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, the outermost values at the corners: (C, h, w) to (C, height, width)."""
    y = np.zeros((len(x), height, width))
    for i, j in np.ndindex(height, width):
        row = i * (x.shape[1] - 1) / max(height - 1, 1)
        column = j * (x.shape[2] - 1) / max(width - 1, 1)
        for a, b in np.ndindex(*x.shape[1:]):
            y[:, i, j] += max(0, 1 - abs(row - a)) * max(0, 1 - abs(column - b)) * x[:, a, b]
    return y


@reference("ppm")
def ppm(module: PyramidPooling, x: np.ndarray) -> np.ndarray:
    def one(picture: np.ndarray) -> np.ndarray:
        parts = [picture]
        levels: Any = module.levels
        for bins, layers in levels:
            coarse = np.stack([binned(channel, bins.size[0], np.mean) for channel in picture])
            parts.append(stretched(convolution(layers, coarse), *picture.shape[1:]))
        return np.concatenate(parts)

    return pictures(one, x, x.shape[1] + len(module.levels) * (x.shape[1] // len(module.levels)))


@strategy("sppf")
def sppf_options() -> st.SearchStrategy[Case]:
    values = {"out_channels": st.sampled_from([None, 1, 3]), "kernel_size": st.sampled_from([1, 3, 5])}
    return st.tuples(st.fixed_dictionaries(values), shapes())


@reference("sppf")
def sppf(module: SPPF, x: np.ndarray) -> np.ndarray:
    reach = module.maximum.window.kernel[0] // 2

    def largest(maps: np.ndarray, reach: int) -> np.ndarray:
        y = np.empty_like(maps)
        for i, j in np.ndindex(*maps.shape[1:]):
            y[:, i, j] = maps[:, max(i - reach, 0) : i + reach + 1, max(j - reach, 0) : j + reach + 1].max((1, 2))
        return y

    def one(picture: np.ndarray) -> np.ndarray:
        reduced = convolution(module.reduce, picture)
        return convolution(module.project, np.concatenate([largest(reduced, times * reach) for times in range(4)]))

    return pictures(one, x, len(numbers(module.project[0].weight)))
