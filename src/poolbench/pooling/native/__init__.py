"""Compiled kernels of the local operators for CPUs, and the one place that chooses between them and the formulas."""

from poolbench.pooling.native.operator import slide
from poolbench.pooling.native.selection import Backend, backend

__all__ = ["Backend", "backend", "slide"]
