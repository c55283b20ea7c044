"""Where results come from: the sources that decide them, and the machine and versions that made them."""

import ast
import hashlib
import importlib.metadata
import inspect
import platform
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import torch

from poolbench import pooling

PACKAGES = (
    "torch",
    "torchvision",
    "timm",
    "pytorch-lightning",
    "torchmetrics",
    "hydra-core",
    "dvc",
    "wandb",
    "safetensors",
)


def digest(*things: Any) -> str:
    """A hash of the sources that classes and functions of this package run, without comments and docstrings.

    It follows what they refer to within the package, so it changes with a function they call and with nothing else:
    the pipeline trains anew the runs that a change of code can alter, and no others.

    >>> from poolbench import pooling
    >>> digest(pooling.fixed.Max) == digest(pooling.fixed.Average)
    False
    """
    seen: dict[str, str] = {}
    waiting = list(things)
    while waiting:
        thing = waiting.pop()
        name = f"{thing.__module__}.{thing.__qualname__}"
        if name not in seen:
            seen[name] = _source(thing) + repr(_constants(thing))
            waiting += _references(thing)
    return hashlib.sha256("\n".join(f"{name} {seen[name]}" for name in sorted(seen)).encode()).hexdigest()


@cache  # cells share most of what they run
def _source(thing: Any) -> str:
    """What the source of a class or function does, in a form that comments, docstrings and layout do not change."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(thing)))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            node.decorator_list = []  # a spec describes an operator, it does not run
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree)


def _references(thing: Any) -> Iterator[Any]:
    """The classes and functions that a class or function refers to, and that are not a library's."""
    if isinstance(thing, type):
        found = [*thing.__mro__[1:], *vars(thing).values()]
        yield from (each for each in found if isinstance(each, type) and _ours(each))
    for _, value, names in _globals(thing):
        found = [vars(value).get(name) for name in names] if isinstance(value, ModuleType) else [value]
        yield from (each for each in found if isinstance(each, type | FunctionType) and _ours(each))


def _constants(thing: Any) -> list[tuple[str, Any]]:
    """The plain values of its module that a class or function reads."""
    return sorted((name, value) for name, value, _ in _globals(thing) if _plain(value))


def _plain(value: Any) -> bool:
    if isinstance(value, dict):
        return all(_plain(each) for pair in value.items() for each in pair)
    if isinstance(value, tuple | list):
        return all(_plain(each) for each in value)
    return isinstance(value, int | float | str | None)


def _globals(thing: Any) -> Iterator[tuple[str, Any, set[str]]]:
    """The module-level names that a function or a class's methods read, with all names that each method reads."""
    for member in vars(thing).values() if isinstance(thing, type) else [thing]:
        raw = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
        if callable(raw) and isinstance(function := inspect.unwrap(raw), FunctionType):
            names = set(_names(function.__code__))
            for name in names & function.__globals__.keys():
                yield name, function.__globals__[name], names


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _ours(thing: Any) -> bool:
    """Whether a class or function is this package's or a user's own: not from the standard library or a package."""
    module = sys.modules.get(thing.__module__)
    file = getattr(module, "__file__", None)
    if thing.__module__.split(".")[0] == "poolbench":
        return True
    return file is not None and not {"site-packages", "dist-packages"} & set(Path(file).parts) and not _standard(thing)


def _standard(thing: Any) -> bool:
    return thing.__module__.split(".")[0] in sys.stdlib_module_names


def environment() -> dict[str, Any]:
    """The commit, the versions and the machine, for a run's `environment.json`."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "dirty": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in PACKAGES},
        "system": platform.platform(),
        "processor": _processor(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "backend": pooling.backend().name,
    }


def machine_folder(device: str = "cpu") -> str:
    """What a folder of times taken on this machine is called: by its processor, or by its GPU."""
    name = torch.cuda.get_device_name() if device == "cuda" else re.sub(r"\(\w+\)|,.*", "", _processor())
    return re.sub(r"\W+", "_", name).lower()


def _git(*arguments: str) -> str | None:
    """What git says, or None where the code lies in no repository or there is no git."""
    try:
        answer = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=Path(__file__).parent)
    except FileNotFoundError:
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    models = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    name = models[0].partition(":")[2].strip() if models else platform.processor() or platform.machine()
    return f"{name}, {torch.get_num_threads()} threads"
