"""References of the operators that stack the pixels of a cell as channels."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.merging import PatchMergingV1, PatchMergingV2, SpaceToDepth
from tests.pooling.references import reference, strategy


@st.composite
def maps(draw: st.DrawFn, smallest: int = 1) -> tuple[int, ...]:
    """The shape of a map at least so large."""
    size = st.integers(smallest, 9)
    return draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(size), draw(size)


@reference("space_to_depth")
def space_to_depth(module: SpaceToDepth, x: np.ndarray) -> np.ndarray:
    step = module.stride
    bias = module.projection.bias
    assert bias is not None
    weight = module.projection.weight.detach().numpy()
    weight, shift = weight.reshape(len(weight), -1), bias.detach().numpy()
    y = np.empty((len(x), len(weight), x.shape[2] // step, x.shape[3] // step))
    for picture, i, j in np.ndindex(len(x), *y.shape[2:]):
        cell = x[picture, :, i * step : (i + 1) * step, j * step : (j + 1) * step]
        y[picture, :, i, j] = weight @ cell.ravel() + shift
    return y


@strategy("space_to_depth")
@st.composite
def cells(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    stride = draw(st.integers(1, 4))
    options = {"stride": stride, "out_channels": draw(st.none() | st.integers(1, 4))}
    return options, draw(maps(stride))


def norm(x: np.ndarray, module: PatchMergingV1 | PatchMergingV2) -> np.ndarray:
    scale, shift = (each.detach().numpy() for each in (module.norm.weight, module.norm.bias))
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + shift


def merged(module: PatchMergingV1 | PatchMergingV2, x: np.ndarray, norm_first: bool) -> np.ndarray:
    weight = module.reduction.weight.detach().numpy()
    y = np.empty((len(x), len(weight), -(-x.shape[2] // 2), -(-x.shape[3] // 2)))
    for picture, i, j in np.ndindex(len(x), *y.shape[2:]):
        cell = np.zeros((4, x.shape[1]))
        for place, (row, column) in enumerate([(0, 0), (1, 0), (0, 1), (1, 1)]):
            if 2 * i + row < x.shape[2] and 2 * j + column < x.shape[3]:
                cell[place] = x[picture, :, 2 * i + row, 2 * j + column]
        pixels = cell.ravel()
        y[picture, :, i, j] = weight @ norm(pixels, module) if norm_first else norm(weight @ pixels, module)
    return y


@reference("patch_merging")
def patch_merging(module: PatchMergingV1, x: np.ndarray) -> np.ndarray:
    return merged(module, x, norm_first=True)


@reference("patch_merging_v2")
def patch_merging_v2(module: PatchMergingV2, x: np.ndarray) -> np.ndarray:
    return merged(module, x, norm_first=False)


@strategy("patch_merging")
@strategy("patch_merging_v2")
@st.composite
def merges(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    return {"out_channels": draw(st.none() | st.integers(2, 6))}, draw(maps())
