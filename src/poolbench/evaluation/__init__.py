"""What is measured of a trained classifier: pure functions, no files."""

from poolbench.evaluation.classification import classification
from poolbench.evaluation.cost import Cost, cost
from poolbench.evaluation.shift import Shift, circular

__all__ = ["Cost", "Shift", "circular", "classification", "cost"]
