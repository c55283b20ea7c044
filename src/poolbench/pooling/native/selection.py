"""Which backend the local operators use: compiled kernels, or the formulas in PyTorch."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from poolbench.naming import unknown
from poolbench.pooling.native import fakes
from poolbench.pooling.native.build import BuildError, build, compiler, library

Name = Literal["native", "formula"]
SWITCH = "POOLBENCH_BACKEND"
COMMAND = "python -m poolbench.pooling.native"


@dataclass(frozen=True)
class Backend:
    """What computes the local operators on a CPU, and why."""

    name: Name
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def backend() -> Backend:
    """The backend in use: `native` kernels, or the `formula` of each operator in PyTorch; POOLBENCH_BACKEND selects.

    Other devices, float16, and what has no kernel always use the formula.

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
    fakes.register()
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
