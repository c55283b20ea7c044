"""Training a classifier with Lightning."""

from poolbench.training.classifier import Classifier, Data, Diverged
from poolbench.training.history import History, Learned
from poolbench.training.precision import automatic

__all__ = ["Classifier", "Data", "Diverged", "History", "Learned", "automatic"]
