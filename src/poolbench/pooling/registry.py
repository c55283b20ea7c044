"""The registry: every operator by name, with the facts about it that the rest of Poolbench reads."""

import inspect
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from importlib import import_module
from numbers import Real
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor, nn

from poolbench.naming import unknown
from poolbench.pooling.window import is_whole

Kind = Literal["local", "global", "token", "region", "context"]
KINDS: tuple[Kind, ...] = get_args(Kind)
VARIADIC = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
Operator = TypeVar("Operator", bound=type[nn.Module])


@dataclass(frozen=True)
class Paper:
    """Where a definition comes from."""

    authors: str
    year: int
    title: str
    link: str


@dataclass(frozen=True)
class Option:
    """One argument of an operator: its annotated type and its default."""

    type: Any
    default: Any


@dataclass(frozen=True)
class Spec:
    """What is known of an operator without building it."""

    name: str
    kind: Kind
    operator: type[nn.Module]
    title: str
    formula: str
    paper: Paper
    gradient: str
    """The rule that carries a gradient back through the operator."""
    numbers: str
    """What happens to negative numbers, all-zero windows, ±inf and NaN.

    It speaks of values. A gradient through ±inf or NaN is what the arithmetic gives, and that of kernels may differ.
    """
    shape: str = "H' = ⌊(H - k + 2p) / s⌋ + 1"
    departs: str = ""
    """Where a well-known library computes something else."""
    random: bool = False
    """Whether training draws random numbers."""

    @cached_property
    def _arguments(self) -> dict[str, inspect.Parameter]:
        """What its constructor takes; `*args` and `**kwargs` are what torch shows where there is no constructor."""
        arguments = inspect.signature(self.operator.__init__).parameters.values()
        return {each.name: each for each in arguments if each.name != "self" and each.kind not in VARIADIC}

    @property
    def needs_channels(self) -> bool:
        """Whether the operator has to know how many channels its input has."""
        return "channels" in self._arguments

    @cached_property
    def options(self) -> dict[str, Option]:
        """Every option with its type and default, in the order of the constructor."""
        types = typing.get_type_hints(self.operator.__init__)
        return {
            name: Option(types.get(name, Any), argument.default)
            for name, argument in self._arguments.items()
            if name != "channels"
        }

    def build(self, channels: int, **options: Any) -> nn.Module:
        """Build the operator for an input of `channels` channels."""
        if unexpected := set(options) - set(self.options):
            allowed = ", ".join(self.options) or "none"
            raise ValueError(f"operator {self.name!r} has no option {unexpected.pop()!r}: its options are {allowed}")
        for name, value in options.items():
            option = self.options[name]
            if value is not option.default and not _is(value, option.type):
                raise ValueError(f"operator {self.name!r}: {name} must be {_called(option.type)}, got {value!r}")
        return self.operator(channels, **options) if self.needs_channels else self.operator(**options)

    def parameters(self, channels: int) -> int:
        """How many learned numbers the operator holds with its default options."""
        return sum(parameter.numel() for parameter in self.build(channels).parameters())


def _is(value: object, kind: Any) -> bool:
    """Whether a value is of an annotated type, if that is one which the operators here have; of others any value is.

    Whole numbers may be NumPy's too, and tuples any sequence.
    """
    if typing.get_origin(kind) in (UnionType, typing.Union):
        return any(_is(value, each) for each in get_args(kind))
    if typing.get_origin(kind) is tuple:
        if isinstance(value, str | bytes) or not isinstance(value, Sequence):
            return False
        kinds = get_args(kind)
        kinds = kinds[:1] * len(value) if kinds[-1:] == (...,) else kinds
        return len(value) == len(kinds) and all(map(_is, value, kinds))
    if kind is int:
        return is_whole(value)
    if kind is float:
        return isinstance(value, Real) and not isinstance(value, bool)
    return isinstance(value, kind) if kind in (bool, str, NoneType) else True


def _called(kind: Any) -> str:
    """An annotated type in words."""
    return kind.__name__ if isinstance(kind, type) and not get_args(kind) else str(kind)


_specs: dict[str, Spec] = {}


def register(name: str, kind: Kind, **facts: Any) -> Callable[[Operator], Operator]:
    """Class decorator that adds an operator to the registry; `facts` are the fields of `Spec`."""
    if name in _specs:
        raise ValueError(f"operator {name!r} is registered already, as {_specs[name].operator.__qualname__}")

    def add(operator: Operator) -> Operator:
        _specs[name] = Spec(name=name, kind=kind, operator=operator, **facts)
        operator.forward = _of_batches(name, kind, getattr(operator.forward, "of_anything", operator.forward))
        return operator

    return add


def _of_batches(name: str, kind: Kind, forward: Callable[..., Any]) -> Callable[..., Any]:
    """`forward`, which refuses an input that is not a batch: of it some operators would make something else."""
    axes, batch = (3, "sequences (N, 1 + L, C)") if kind == "token" else (4, "maps (N, C, H, W)")

    @wraps(forward)
    def run(self: nn.Module, x: Tensor, *others: Any, **options: Any) -> Any:
        if x.dim() != axes:
            size = tuple(x.shape)
            raise ValueError(f"operator {name!r} takes {batch}, got {size}; a batch of one is x[None]")
        return forward(self, x, *others, **options)

    vars(run)["of_anything"] = forward  # for a class that inherits it, and has another name
    return run


def names(kind: Kind | None = None) -> list[str]:
    """Names of the registered operators in alphabetical order, of one kind or of all.

    >>> names("context")
    ['aspp', 'ppm', 'sppf']
    """
    if kind is not None and kind not in KINDS:
        raise unknown("kind of operator", kind, KINDS)
    return sorted(name for name, spec in _specs.items() if kind in (None, spec.kind))


def spec(name: str | type[nn.Module]) -> Spec:
    """The spec of a registered name, or of your own class or its dotted path (`package.module.Class`).

    >>> spec("max").title
    'Max pooling'
    """
    if isinstance(name, str) and name in _specs:
        return _specs[name]
    operator = _locate(name) if isinstance(name, str) else name
    return _own(operator)


def create(name: str | type[nn.Module], channels: int, **options: Any) -> nn.Module:
    """Build an operator for an input of `channels` channels.

    >>> import torch
    >>> create("max", 16)(torch.zeros(2, 16, 28, 28)).shape
    torch.Size([2, 16, 14, 14])
    """
    return spec(name).build(channels, **options)


def _locate(path: str) -> type[nn.Module]:
    """The class at a dotted path."""
    module, _, name = path.rpartition(".")
    if not module:
        raise unknown("operator", path, _specs)
    try:
        operator = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"operator {path!r} cannot be imported: {error}; is its folder on PYTHONPATH?") from error
    if not (isinstance(operator, type) and issubclass(operator, nn.Module)):
        raise ValueError(f"operator {path!r} is no torch.nn.Module class: give the path of one")
    return operator


def _own(operator: type[nn.Module]) -> Spec:
    """The spec of a class that is not registered: a local operator, as its author describes it."""
    summary = (inspect.getdoc(operator) or operator.__qualname__).splitlines()[0]
    return Spec(
        name=f"{operator.__module__}.{operator.__qualname__}",
        kind=getattr(operator, "kind", "local"),
        operator=operator,
        title=summary,
        formula="as its class defines it",
        paper=Paper("yours", 0, summary, ""),
        gradient="as its class defines it",
        numbers="as its class defines it",
    )
