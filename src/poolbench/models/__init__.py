"""Networks with slots that any operator fits."""

from poolbench.models import cnn
from poolbench.models.classifier import Normalise, build, initialise, slots
from poolbench.models.registry import create, names, network, options, register

__all__ = ["Normalise", "build", "cnn", "create", "initialise", "names", "network", "options", "register", "slots"]
