"""Compiled kernels of the local operators for CPUs, and the one place that chooses between them and the formulas."""

from poolbench.pooling.native.operator import (
    BORDERS,
    MOST_PLANS,
    PIXEL,
    blurred,
    cell_switches,
    cells,
    learned,
    mixture,
    powers,
    region_maxima,
    separable,
    slide,
    switches,
)
from poolbench.pooling.native.plan import written
from poolbench.pooling.native.selection import Backend, backend, formulas

__all__ = [
    "BORDERS",
    "MOST_PLANS",
    "PIXEL",
    "Backend",
    "backend",
    "blurred",
    "cell_switches",
    "cells",
    "formulas",
    "learned",
    "mixture",
    "powers",
    "region_maxima",
    "separable",
    "slide",
    "switches",
    "written",
]
