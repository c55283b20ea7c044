"""Kernels for GPUs, in Triton: those of the CPU, with the same arguments.

A program handles a block of numbers in the order in which they lie in memory, so that neighbours read neighbours in
either layout: a plane of NCHW counts as a picture of one channel. The way back gathers: each number of the input visits
the windows that hold it and adds up what they give, in one order whatever runs beside it; where no two windows meet,
each window writes what its numbers receive. All is computed in float32, or in float64 for float64.
"""

from poolbench.pooling.native.gpu.cells import cell_switches, cells, cells_backward, cells_taken
from poolbench.pooling.native.gpu.learned import learned, learned_backward
from poolbench.pooling.native.gpu.slide import slide, slide_backward, slide_keeping, switches

__all__ = [
    "cell_switches",
    "cells",
    "cells_backward",
    "cells_taken",
    "learned",
    "learned_backward",
    "slide",
    "slide_backward",
    "slide_keeping",
    "switches",
]
