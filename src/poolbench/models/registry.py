"""Networks by name. A network takes its operators as arguments, so that any stands in any slot."""

import inspect
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from torch import nn

from poolbench.naming import unknown


class MakeOperator(Protocol):
    """Builds the operator of one slot, given how many channels reach it."""

    def __call__(self, channels: int) -> nn.Module: ...


Network = TypeVar("Network", bound=type[nn.Module])

_networks: dict[str, type[nn.Module]] = {}
_GIVEN = ("self", "pool", "head", "shape", "classes")


def register(name: str) -> Callable[[Network], Network]:
    """Class decorator that adds a network, whose arguments are `pool`, `head`, `shape`, `classes` and its options."""
    if name in _networks:
        raise ValueError(f"network {name!r} is registered already, as {_networks[name].__qualname__}")

    def add(network: Network) -> Network:
        _networks[name] = network
        return network

    return add


def names() -> list[str]:
    """Names of the networks.

    >>> "cnn" in names()
    True
    """
    return list(_networks)


def network(name: str) -> type[nn.Module]:
    """The class of a network. Raises ValueError for an unknown name."""
    if name not in _networks:
        raise unknown("model", name, _networks)
    return _networks[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """What can be set about a network besides its operators."""
    arguments = inspect.signature(network(name).__init__).parameters
    return {key: argument for key, argument in arguments.items() if key not in _GIVEN}


def create(
    name: str, pool: MakeOperator, head: MakeOperator, shape: tuple[int, int, int], classes: int, **chosen: Any
) -> nn.Module:
    """Build a network for pictures of `shape` (C, H, W), with `pool` in every downsampling slot and `head` in its last.

    Raises ValueError for an unknown name or option, and where an operator does not fit its slot.
    """
    for key in chosen:
        if key not in options(name):
            raise unknown(f"option of model {name!r}", key, options(name))
    return network(name)(pool=pool, head=head, shape=shape, classes=classes, **chosen)
