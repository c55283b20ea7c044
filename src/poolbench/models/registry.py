"""Networks by name. A network is written with its original operators; `swap` puts others into its slots."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn

from poolbench.models.swap import Chosen, swap
from poolbench.naming import unknown

ORIGINAL = "original"
"""What a configuration says for the operators that a network was published with."""

Network = Callable[..., nn.Module]
Registered = TypeVar("Registered", bound=Network)

ROLES = ("region", "context")
"""Slots that a network has an argument for: what stands in them decides the shape of what comes after."""


class Entry(NamedTuple):
    """A network, its task, and the optimiser that it is trained with as a rule: a name in conf/optimizer."""

    network: Network
    task: str
    optimizer: str


_networks: dict[str, Entry] = {}
_GIVEN = ("self", "shape", "classes", *ROLES)
WHERE = inspect.Parameter("where", inspect.Parameter.KEYWORD_ONLY, default=("*",), annotation=Sequence[str])


def register(name: str, task: str = "classification", optimizer: str = "sgd") -> Callable[[Registered], Registered]:
    """Decorator that adds a class or function of `shape`, `classes` and its options, which makes a network.

    A network of another `task` than classification gives the ground a class, the first. `optimizer`: what a run of it
    takes unless it says otherwise, a name in conf/optimizer.
    """
    if name in _networks:
        raise ValueError(f"network {name!r} is registered already, as {_networks[name].network.__qualname__}")

    def add(network: Registered) -> Registered:
        _networks[name] = Entry(network, task, optimizer)
        return network

    return add


def names() -> list[str]:
    """Names of the networks.

    >>> "cnn" in names()
    True
    """
    return list(_networks)


def task(name: str) -> str:
    """The task that a network is for. Raises ValueError for an unknown name.

    >>> task("cnn")
    'classification'
    """
    return _entry(name).task


def optimizer(name: str) -> str:
    """The optimiser that a network is trained with as a rule. Raises ValueError for an unknown name.

    >>> optimizer("cnn"), optimizer("vit_mini")
    ('sgd', 'adamw')
    """
    return _entry(name).optimizer


def takes(name: str, role: str) -> bool:
    """Whether a network has an argument for the operator of this role, one of `ROLES`."""
    return role in inspect.signature(network(name)).parameters


def network(name: str) -> Network:
    """The class or function that makes a network. Raises ValueError for an unknown name."""
    return _entry(name).network


def _entry(name: str) -> Entry:
    if name not in _networks:
        raise unknown("model", name, _networks)
    return _networks[name]


def options(name: str) -> dict[str, inspect.Parameter]:
    """What can be set about a network besides its operators; `where`: names or kinds of the slots that take `pool`."""
    arguments = inspect.signature(network(name)).parameters
    return {key: argument for key, argument in arguments.items() if key not in _GIVEN} | {"where": WHERE}


def create(
    name: str,
    shape: tuple[int, int, int],
    classes: int,
    pool: Chosen = ORIGINAL,
    head: Chosen = ORIGINAL,
    where: Sequence[str] = ("*",),
    region: Chosen = ORIGINAL,
    context: Chosen = ORIGINAL,
    **chosen: Any,
) -> nn.Module:
    """Build a network for pictures of `shape` (C, H, W), with `pool` in its slots and `head` in its last.

    `region`: the region operator of a network that detects; `context`: the one before the decoder of a network that
    segments. "original" leaves the operators of the publication. Raises ValueError for an unknown name or option, and
    where an operator does not fit its slot or there is none for it.

    >>> create("vgg_mini", (3, 32, 32), 10, pool="blur", head="gem")(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 10])
    """
    for key in chosen:
        if key not in options(name):
            raise unknown(f"option of model {name!r}", key, options(name))
    for role, operator in (("region", region), ("context", context)):
        if takes(name, role):
            chosen[role] = operator
        elif not _original(operator):
            raise ValueError(f"{role}: model {name!r} has no slot for it; choose one that has, or {role}={ORIGINAL}")
    built = network(name)(shape=shape, classes=classes, **chosen)
    operators = {role: operator for role, operator in (("pool", pool), ("head", head)) if not _original(operator)}
    example = torch.zeros(1, *shape, device=next(built.parameters()).device)
    return swap(built, **operators, where=where, example=example, widen=True)


def _original(chosen: Chosen) -> bool:
    return (chosen["name"] if isinstance(chosen, Mapping) else chosen) == ORIGINAL
