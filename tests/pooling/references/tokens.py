"""References of the token operators; MAP and SimPool are those of the maps."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch import nn

from poolbench.pooling.tokens import TokenAverage
from tests.pooling.references import reference, strategy
from tests.pooling.references.heads import layer_norm


@reference("cls")
def cls(module: nn.Module, x: np.ndarray) -> np.ndarray:
    return np.array([list(picture[0]) for picture in x]).reshape(len(x), x.shape[2])


@strategy("token_gap")
def token_gap_options() -> st.SearchStrategy[tuple[dict[str, Any], tuple[int, ...]]]:
    shape = st.tuples(st.integers(0, 2), st.integers(2, 10), st.integers(1, 4))
    return st.tuples(st.fixed_dictionaries({"order": st.sampled_from(["norm_mean", "mean_norm"])}), shape)


@reference("token_gap")
def token_gap(module: TokenAverage, x: np.ndarray) -> np.ndarray:
    y = np.empty((len(x), x.shape[2]))
    for n, picture in enumerate(x):
        tokens = picture[1:]
        if module.order == "norm_mean":
            y[n] = sum(layer_norm(module.norm, token) for token in tokens) / len(tokens)
        else:
            y[n] = layer_norm(module.norm, sum(tokens) / len(tokens))
    return y


@reference("token_gmp")
def token_gmp(module: nn.Module, x: np.ndarray) -> np.ndarray:
    y = np.empty((len(x), x.shape[2]))
    for n, c in np.ndindex(*y.shape):
        y[n, c] = np.max(x[n, 1:, c])
    return y


@reference("cls_gap")
def cls_gap(module: nn.Module, x: np.ndarray) -> np.ndarray:
    y = np.empty((len(x), 2 * x.shape[2]))
    for n, picture in enumerate(x):
        y[n] = np.concatenate([picture[0], sum(picture[1:]) / (len(picture) - 1)])
    return y
