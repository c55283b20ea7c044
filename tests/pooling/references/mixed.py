"""References of the operators between max and average pooling."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench import pooling
from poolbench.pooling.mixed import Gated, Mixed, Tree
from tests.pooling.cases import windows
from tests.pooling.references import reference, strategy
from tests.pooling.references.learned import by_channel


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def extremes(values: np.ndarray, counted: int) -> tuple[float, float]:
    """The maximum of a window, and its mean in which the padding counts."""
    return values.max(initial=-np.inf), values.sum() / counted


@reference("mixed")
def mixed(module: Mixed, x: np.ndarray) -> np.ndarray:
    weights = np.array([module.weight]) if module.logit is None else sigmoid(module.logit.detach().numpy().ravel())

    def mixture(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        share = weights[channel % len(weights)]
        largest, mean = extremes(values, counted)
        return share * largest + (1 - share) * mean

    return by_channel(module, x, mixture)


@strategy("mixed")
@st.composite
def mixtures(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("mixed")))
    return options | draw(
        st.fixed_dictionaries(
            {"weight": st.sampled_from([0.25, 0.5, 0.9]), "learned": st.sampled_from(["no", "layer", "channel"])}
        )
    ), shape


@reference("gated")
def gated(module: Gated, x: np.ndarray) -> np.ndarray:
    masks = module.mask.detach().numpy().reshape(len(module.mask), -1)

    def mixture(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        gate = float(sigmoid(masks[channel % len(masks)][places] @ values))
        largest, mean = extremes(values, counted)
        return gate * largest + (1 - gate) * mean

    return by_channel(module, x, mixture)


@reference("tree")
def tree(module: Tree, x: np.ndarray) -> np.ndarray:
    leaves, gates = (each.detach().flatten(2).numpy() for each in (module.leaves, module.gates))

    def root(channel: int, values: np.ndarray, places: np.ndarray, counted: int) -> float:
        own = channel % leaves.shape[1]

        def node(number: int) -> float:
            """Nodes are numbered from the root, by levels, as in a heap: the leaves come last."""
            if number >= len(gates):
                return leaves[number - len(gates), own][places] @ values
            gate = float(sigmoid(gates[number, own][places] @ values))
            return gate * node(2 * number + 1) + (1 - gate) * node(2 * number + 2)

        return node(0)

    return by_channel(module, x, root)


@strategy("tree")
@st.composite
def trees(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    options, shape = draw(windows(pooling.spec("tree")))
    return options | {"levels": draw(st.integers(1, 4))}, shape
