"""Slow, obvious references in NumPy float64, one for every operator of the registry.

A reference reads the window and the learned numbers from the module that it is given, here in `fixed.py`:

    from tests.pooling.references import reference

    @reference("average")
    def average(module: Average, x: np.ndarray) -> np.ndarray: ...

A region operator's reference receives the boxes after `x`. An operator whose options or input shapes are not those of
an ordinary window also offers a strategy of (options, input shape); the shape is (N, C, H, W), or (N, 1 + L, C) for a
token operator.
"""

import pkgutil
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np
from hypothesis.strategies import SearchStrategy

Reference = Callable[..., np.ndarray]
Strategy = Callable[[], SearchStrategy[tuple[dict[str, Any], tuple[int, ...]]]]

REFERENCES: dict[str, Reference] = {}
STRATEGIES: dict[str, Strategy] = {}


def reference(name: str) -> Callable[[Reference], Reference]:
    """Decorator: the reference of the operator of this name."""
    assert name not in REFERENCES, f"operator {name!r} has two references"

    def add(function: Reference) -> Reference:
        REFERENCES[name] = function
        return function

    return add


def strategy(name: str) -> Callable[[Strategy], Strategy]:
    """Decorator: a function that returns the hypothesis strategy of (options, input shape) of the operator."""
    assert name not in STRATEGIES, f"operator {name!r} has two strategies"

    def add(function: Strategy) -> Strategy:
        STRATEGIES[name] = function
        return function

    return add


def load() -> None:
    """Import every family's file, which fills the two tables."""
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
