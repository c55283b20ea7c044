"""Which backend the local operators use: compiled kernels, or the formulas in PyTorch."""

import importlib
import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, get_args

import torch

from poolbench.naming import unknown
from poolbench.pooling.native import fakes
from poolbench.pooling.native.build import BuildError, build, compiler, library

Name = Literal["native", "formula"]
SWITCH = "POOLBENCH_BACKEND"
COMMAND = "python -m poolbench.pooling.native"
TRITON = importlib.util.find_spec("triton") is not None
"""Kernels for GPUs can be compiled: torch for CUDA and for ROCm brings Triton along."""
GPU_CALLS = (
    *("slide", "slide_keeping", "switches", "slide_backward", "learned", "learned_backward"),
    *("cells", "cell_switches", "cells_backward", "cells_taken"),
)
"""Torch's operators that `gpu` holds kernels of."""


@dataclass(frozen=True)
class Backend:
    """What computes the local operators, and why."""

    name: Name
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def backend() -> Backend:
    """The backend in use: `native` kernels, or the `formula` of each operator in PyTorch; POOLBENCH_BACKEND selects.

    Kernels are for CPUs and, of some operators, for GPUs where there is Triton. Other devices, float16 on a CPU, and
    what has no kernel always use the formula.

    >>> backend().name in ("native", "formula")
    True
    """
    return _current


def choose() -> Backend:
    """The backend that the environment asks for, if it is there; else the formulas, and a line that says why."""
    wanted = os.environ.get(SWITCH, "native")
    if wanted not in get_args(Name):
        raise unknown(SWITCH, wanted, get_args(Name))
    if wanted == "formula":
        return Backend("formula", f"{SWITCH}=formula")
    try:
        file = library(compiler())
    except BuildError as error:
        return _without(str(error))
    if not file.exists():
        return _without(f"the kernels are not compiled yet; {COMMAND} does it, once")
    torch.ops.load_library(file)
    _register()
    return Backend("native", str(file))


def prepare() -> Backend:
    """Compile the kernels if they are missing and wanted, and choose again."""
    global _current
    if _current.name == "formula" and os.environ.get(SWITCH) != "formula":
        try:
            build()
        except BuildError as error:
            return _without(str(error))
        _current = choose()
    return _current


@cache  # torch takes a kernel once
def _register() -> None:
    """Tell torch of the kernels' shapes, and of those for GPUs."""
    fakes.register()
    for name in GPU_CALLS if TRITON else ():
        torch.library.impl(f"poolbench::{name}", "cuda", _on_gpu(name))


def _on_gpu(name: str) -> Callable[..., Any]:
    """A function of `gpu`, imported with Triton when it is first called: a CPU needs neither."""

    def run(*arguments: Any) -> Any:
        return getattr(importlib.import_module("poolbench.pooling.native.gpu"), name)(*arguments)

    return run


@contextmanager
def formulas() -> Iterator[None]:
    """Formulas alone, for as long as it lasts: to compare them with kernels in one process.

    >>> with formulas():
    ...     print(backend().name)
    formula
    """
    global _current
    before = _current
    _current = Backend("formula", "asked for here")
    try:
        yield
    finally:
        _current = before


def _without(reason: str) -> Backend:
    logging.getLogger("poolbench").warning("poolbench: local operators by formula: %s", reason)
    return Backend("formula", reason)


_current = choose()
