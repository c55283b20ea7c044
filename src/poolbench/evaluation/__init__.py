"""What is measured of a trained classifier: pure functions, no files."""

from poolbench.evaluation.activation import activation
from poolbench.evaluation.answers import Answers, ask, period
from poolbench.evaluation.classification import classification
from poolbench.evaluation.cost import Cost, cost
from poolbench.evaluation.layers import equivariance
from poolbench.evaluation.passes import passes
from poolbench.evaluation.protocols import PROTOCOLS, Protocol, protocol
from poolbench.evaluation.robustness import CORRUPTIONS, corrupt, robustness
from poolbench.evaluation.shift import Shift, shift
from poolbench.evaluation.sizes import Sized, sizes

__all__ = [
    "CORRUPTIONS",
    "PROTOCOLS",
    "SCHEMA",
    "Answers",
    "Cost",
    "Protocol",
    "Shift",
    "Sized",
    "activation",
    "ask",
    "classification",
    "corrupt",
    "cost",
    "equivariance",
    "passes",
    "period",
    "protocol",
    "robustness",
    "shift",
    "sizes",
]

SCHEMA = 3
"""Of what the stage `evaluate` writes and the report reads."""
