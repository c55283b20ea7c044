"""Networks by name, the slots of any model, and `swap`, which puts an operator into them."""

from poolbench.models import classics, cnn, compact, detection, published, segmentation, transformers
from poolbench.models.classifier import Normalise, build, initialise
from poolbench.models.placed import Placed
from poolbench.models.registry import (
    ORIGINAL,
    ROLES,
    create,
    names,
    network,
    optimizer,
    options,
    register,
    takes,
    task,
)
from poolbench.models.slots import Slot, head, slots
from poolbench.models.swap import swap

__all__ = [
    "ORIGINAL",
    "ROLES",
    "Normalise",
    "Placed",
    "Slot",
    "build",
    "classics",
    "cnn",
    "compact",
    "create",
    "detection",
    "head",
    "initialise",
    "names",
    "network",
    "optimizer",
    "options",
    "published",
    "register",
    "segmentation",
    "slots",
    "swap",
    "takes",
    "task",
    "transformers",
]
