"""Every spatial pooling operator by name; needs torch alone.

>>> import torch
>>> from poolbench import pooling
>>> pooling.create("max_blur", channels=64)(torch.rand(1, 64, 32, 32)).shape
torch.Size([1, 64, 16, 16])
"""

from poolbench.pooling import (
    adaptive,
    attention,
    blurred,
    context,
    fixed,
    fractional,
    frequency,
    heads,
    learned,
    merging,
    mixed,
    norms,
    polyphase,
    regions,
    stochastic,
    tokens,
)
from poolbench.pooling.fixed import unpool
from poolbench.pooling.native import backend
from poolbench.pooling.registry import KINDS, Kind, Option, Paper, Spec, create, names, register, spec

__all__ = [
    "KINDS",
    "Kind",
    "Option",
    "Paper",
    "Spec",
    "adaptive",
    "attention",
    "backend",
    "blurred",
    "context",
    "create",
    "fixed",
    "fractional",
    "frequency",
    "heads",
    "learned",
    "merging",
    "mixed",
    "names",
    "norms",
    "polyphase",
    "regions",
    "register",
    "spec",
    "stochastic",
    "tokens",
    "unpool",
]
