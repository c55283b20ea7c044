"""What is measured of a trained classifier: pure functions, no files."""

from poolbench.evaluation.answers import Answers, ask, period
from poolbench.evaluation.classification import classification, confusion, reliability
from poolbench.evaluation.cost import Cost, cost
from poolbench.evaluation.layers import equivariance, geometry
from poolbench.evaluation.protocols import PROTOCOLS, Protocol, protocol
from poolbench.evaluation.robustness import CORRUPTIONS, corrupt, robustness
from poolbench.evaluation.shift import Shift, shift

__all__ = [
    "CORRUPTIONS",
    "PROTOCOLS",
    "SCHEMA",
    "Answers",
    "Cost",
    "Protocol",
    "Shift",
    "ask",
    "classification",
    "confusion",
    "corrupt",
    "cost",
    "equivariance",
    "geometry",
    "period",
    "protocol",
    "reliability",
    "robustness",
    "shift",
]

SCHEMA = 3
"""Of what the stage `evaluate` writes and the report reads."""
