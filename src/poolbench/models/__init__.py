"""Networks by name, the slots of any model, and `swap`, which puts an operator into them."""

from poolbench.models import classics, cnn, compact, published, transformers
from poolbench.models.classifier import Normalise, build, initialise
from poolbench.models.placed import Placed
from poolbench.models.registry import ORIGINAL, create, names, network, optimizer, options, register
from poolbench.models.slots import Slot, head, slots
from poolbench.models.swap import swap

__all__ = [
    "ORIGINAL",
    "Normalise",
    "Placed",
    "Slot",
    "build",
    "classics",
    "cnn",
    "compact",
    "create",
    "head",
    "initialise",
    "names",
    "network",
    "optimizer",
    "options",
    "published",
    "register",
    "slots",
    "swap",
    "transformers",
]
