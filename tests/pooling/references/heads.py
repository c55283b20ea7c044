"""References of the global operators; those over positions serve the tokens too."""

from typing import Any

import numpy as np
from hypothesis import strategies as st
from torch import nn

from poolbench.pooling.heads import MAP, Flatten, GeM, GlobalAverageMax, GlobalLp, LogSumExp, SimPool, SpatialPyramid
from tests.pooling.references import reference, strategy

Case = tuple[dict[str, Any], tuple[int, ...]]


def shapes() -> st.SearchStrategy[tuple[int, ...]]:
    return st.tuples(st.integers(0, 2), st.integers(1, 4), st.integers(1, 9), st.integers(1, 9))


def options(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[Case]:
    """Options drawn from these, with the shape of a map."""
    return st.tuples(st.fixed_dictionaries(values), shapes())


def channel(function: Any, x: np.ndarray) -> np.ndarray:
    """A function of each channel's numbers."""
    y = np.empty(x.shape[:2])
    for n, c in np.ndindex(*y.shape):
        y[n, c] = function(x[n, c].ravel())
    return y


def numbers(parameter: Any) -> np.ndarray:
    return parameter.detach().numpy()


def linear(layer: Any, x: np.ndarray) -> np.ndarray:
    y = numbers(layer.weight) @ x
    return y if layer.bias is None else y + numbers(layer.bias)


def layer_norm(layer: Any, x: np.ndarray) -> np.ndarray:
    return (x - x.mean()) / np.sqrt(x.var() + layer.eps) * numbers(layer.weight) + numbers(layer.bias)


def softmax(x: np.ndarray) -> np.ndarray:
    weights = np.exp(x - x.max())
    return weights / weights.sum()


@reference("gap")
def gap(module: nn.Module, x: np.ndarray) -> np.ndarray:
    return channel(lambda v: sum(v) / len(v), x)


@reference("gmp")
def gmp(module: nn.Module, x: np.ndarray) -> np.ndarray:
    return channel(np.max, x)


@reference("flatten")
def flatten(module: Flatten, x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), int(np.prod(x.shape[1:])))


@strategy("gap_gmp")
def gap_gmp_options() -> st.SearchStrategy[Case]:
    return options(combine=st.sampled_from(["sum", "concatenate"]))


@reference("gap_gmp")
def gap_gmp(module: GlobalAverageMax, x: np.ndarray) -> np.ndarray:
    mean, largest = gap(module, x), gmp(module, x)
    return mean + largest if module.combine == "sum" else np.concatenate([mean, largest], axis=1)


@strategy("global_lp")
def global_lp_options() -> st.SearchStrategy[Case]:
    return options(p=st.sampled_from([1.0, 1.5, 2.0, 3.0, 8.0, float("inf")]))


@reference("global_lp")
def global_lp(module: GlobalLp, x: np.ndarray) -> np.ndarray:
    if module.p == float("inf"):
        return channel(lambda v: np.abs(v).max(), x)
    return channel(lambda v: (sum(np.abs(v) ** module.p) / len(v)) ** (1 / module.p), x)


@strategy("gem")
def gem_options() -> st.SearchStrategy[Case]:
    # A large eps shows the clamp; a small one has derivatives too steep for differences.
    return options(p=st.sampled_from([1.0, 2.0, 3.5]), learned=st.booleans(), eps=st.sampled_from([0.01, 0.5]))


@reference("gem")
def gem(module: GeM, x: np.ndarray) -> np.ndarray:
    p = float(module.p.detach())
    return channel(lambda v: (sum(np.maximum(v, module.eps) ** p) / len(v)) ** (1 / p), x)


@strategy("lse")
def lse_options() -> st.SearchStrategy[Case]:
    return options(r=st.sampled_from([0.1, 1.0, 5.0, 20.0]))


@reference("lse")
def lse(module: LogSumExp, x: np.ndarray) -> np.ndarray:
    return channel(lambda v: np.log(sum(np.exp(module.r * v)) / len(v)) / module.r, x)


@strategy("spp")
def spp_options() -> st.SearchStrategy[Case]:
    levels = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
    return options(levels=levels, pool=st.sampled_from(["max", "average"]))


def binned(x: np.ndarray, n: int, function: Any) -> np.ndarray:
    """A function of n x n bins of a map (H, W): bin i holds every position that [i H / n, (i + 1) H / n) touches."""
    height, width = x.shape
    y = np.empty((n, n))
    for i, j in np.ndindex(n, n):
        rows = [h for h in range(height) if h + 1 > i * height / n and h < (i + 1) * height / n]
        columns = [w for w in range(width) if w + 1 > j * width / n and w < (j + 1) * width / n]
        y[i, j] = function(np.array([x[h, w] for h in rows for w in columns]))
    return y


@reference("spp")
def spp(module: SpatialPyramid, x: np.ndarray) -> np.ndarray:
    function = np.max if module.pool == "max" else np.mean
    vectors = [
        np.concatenate([binned(picture[c], n, function).ravel() for n in module.sizes for c in range(len(picture))])
        for picture in x
    ]
    return np.reshape(vectors, (len(x), x.shape[1] * sum(n * n for n in module.sizes)))


def map_of(module: MAP, positions: np.ndarray) -> np.ndarray:
    """MAP of the positions (L, C) of one picture."""
    query, width = linear(module.query, numbers(module.probe)[0]), positions.shape[1] // module.heads
    keys, values = ([linear(layer, x) for x in positions] for layer in (module.key, module.value))
    gathered = []
    for head in range(module.heads):
        part = slice(head * width, (head + 1) * width)
        weights = softmax(np.array([query[part] @ key[part] for key in keys]) / np.sqrt(width))
        gathered.append(sum(weight * value[part] for weight, value in zip(weights, values, strict=True)))
    z = linear(module.output, np.concatenate(gathered))
    inner = linear(module.mlp[0], layer_norm(module.norm, z))
    inner = inner / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
    return z + linear(module.mlp[2], inner)


def simpool_of(module: SimPool, positions: np.ndarray) -> np.ndarray:
    """SimPool of the positions (L, C) of one picture."""
    normed = np.array([layer_norm(module.norm, x) for x in positions])
    query = linear(module.query, positions.mean(0))
    weights = softmax(np.array([query @ linear(module.key, x) for x in normed]) / np.sqrt(len(query)))
    value = normed - normed.min() + 1e-6
    return sum(weight * v**module.gamma for weight, v in zip(weights, value, strict=True)) ** (1 / module.gamma)


def over_pictures(function: Any, module: nn.Module, x: np.ndarray) -> np.ndarray:
    """A function of each picture's positions, of a map (N, C, H, W) or of tokens without the class token."""
    channels = x.shape[1] if x.ndim == 4 else x.shape[2]
    sequences = [each.reshape(channels, -1).T if x.ndim == 4 else each[1:] for each in x]
    return np.reshape([function(module, each) for each in sequences], (len(x), channels))


@st.composite
def head_options(draw: st.DrawFn) -> Case:
    heads, width = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return {"heads": heads}, (draw(st.integers(0, 2)), heads * width, draw(st.integers(1, 5)), draw(st.integers(1, 5)))


@strategy("map")
def map_options() -> st.SearchStrategy[Case]:
    return head_options()


@strategy("token_map")
def token_map_options() -> st.SearchStrategy[Case]:
    return head_options().map(lambda case: (case[0], (case[1][0], 1 + case[1][2], case[1][1])))


@reference("map")
@reference("token_map")
def attention_pool(module: MAP, x: np.ndarray) -> np.ndarray:
    return over_pictures(map_of, module, x)


@strategy("simpool")
def simpool_options() -> st.SearchStrategy[Case]:
    return options(gamma=st.sampled_from([1.0, 1.25, 2.0]))


@reference("simpool")
@reference("token_simpool")
def simpool(module: SimPool, x: np.ndarray) -> np.ndarray:
    return over_pictures(simpool_of, module, x)
