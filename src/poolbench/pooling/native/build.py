"""Compiles the kernels for this machine, once: later processes find the library in the user's cache folder."""

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

FOLDER = Path(__file__).parent
UNITS = (
    "looking.cpp",
    "forward.cpp",
    "backward.cpp",
    "learned.cpp",
    "blurred.cpp",
    "cells.cpp",
    "separable.cpp",
    "polyphase.cpp",
    "regions.cpp",
)
"""Compiled side by side; what takes longest comes first."""
HEADERS = (
    "lanes.h",
    "operators.h",
    "learned.h",
    "slide.h",
    "tiles.h",
    "picks.h",
    "cell_planes.h",
    "gather.h",
    "slab.h",
    "weighed.h",
    "overlapping.h",
    "tensors.h",
    "dispatch.h",
    "backward.h",
    "blurred.h",
    "filter.h",
    "blurred_maxima.h",
    "blurred_pixels.h",
    "blurred_planes.h",
    "cells.h",
    "spots.h",
)
FLAGS = ("-std=c++20", "-O2", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-w")
"""$CXXFLAGS come after them."""
KERNELS = hashlib.sha256(b"".join((FOLDER / name).read_bytes() for name in (*UNITS, *HEADERS))).hexdigest()
"""Of the sources: what runs of an operator that has a kernel depend on."""


class BuildError(Exception):
    """There is no compiler, or it failed; the message is one line."""


def compiler() -> str:
    """The C++ compiler: $CXX, or the system's."""
    wanted = os.environ.get("CXX", "g++")
    found = shutil.which(wanted)
    if found is None:
        raise BuildError(f"no C++ compiler is called {wanted}")
    return found


def library(path: str) -> Path:
    """Where the library lies that a compiler makes of these sources, for this torch and this processor."""
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    able = next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())
    parts = (KERNELS, version, *_flags(), torch.__version__, platform.machine(), able)
    key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "poolbench" / f"kernels-{key}.so"


def build() -> Path:
    """The library, compiled unless it is there; processes that do so at once do not see each other's halves."""
    path = compiler()
    file = library(path)
    if not file.exists():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=file.parent) as aside:
                made = Path(aside) / file.name
                _compile(path, made)
                made.replace(file)
        except OSError as error:
            raise BuildError(f"{file.parent} cannot be written: {error.strerror}") from error
    return file


def _flags() -> list[str]:
    return [*FLAGS, *os.environ.get("CXXFLAGS", "").split()]


def _compile(path: str, made: Path) -> None:
    home = Path(torch.__file__).parent
    objects = {name: made.with_name(f"{name}.o") for name in UNITS}
    command = [path, *_flags(), f"-I{home / 'include'}", "-c"]
    _run([*command, str(FOLDER / name), "-o", str(file)] for name, file in objects.items())
    libraries = (f"-L{home / 'lib'}", "-ltorch_cpu", "-lc10")
    _run([[path, *_flags(), "-shared", *map(str, objects.values()), "-o", str(made), *libraries]])


def _run(commands: Iterable[list[str]]) -> None:
    """As many at once as there are cores; the first that fails is the one that is told of."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        ended = list(pool.map(partial(subprocess.run, capture_output=True, text=True, check=False), commands))
    for process in ended:
        if process.returncode:
            lines = process.stderr.splitlines()
            errors = [line for line in lines if "error" in line]
            raise BuildError(f"{process.args[0]} failed: {(errors or lines or ['no message'])[0]}")
