"""What is measured of a trained network: pure functions, no files."""

from poolbench.evaluation import detection
from poolbench.evaluation.answers import Answers, ask, period
from poolbench.evaluation.classification import classification
from poolbench.evaluation.cost import Cost, cost
from poolbench.evaluation.layers import equivariance
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
    "corrupt",
    "cost",
    "detection",
    "equivariance",
    "period",
    "protocol",
    "robustness",
    "shift",
]

SCHEMA = 2
"""Of what the stage `evaluate` writes and the report reads."""
