"""A card for each operator that the runs use: what it is, what it does to a picture and to a gradient, how it fares."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from poolbench import pooling
from poolbench.pooling.demonstration import demonstrate
from poolbench.pooling.registry import Spec
from poolbench.report.drawings import grey, signed
from poolbench.report.records import METRICS, Metric
from poolbench.report.summary import RANKED, SETTING, Json, estimated

COST = ("cost.pool_step", "cost.bytes_saved")
"""What a card shows of an operator's own cost."""
CHANNELS = 64
"""Where the number of learned numbers is given."""


@dataclass(frozen=True)
class Card:
    """One operator: its spec, small pictures as data URIs, and its cells with what was measured of them."""

    spec: Spec
    given: str
    made: str
    gradient: str
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    learned: int
    cells: Sequence[str]
    columns: Sequence[Metric]


def cards(summary: Json) -> list[Card]:
    """Of every operator that has a role in a cell, in the order in which the cells name them."""
    users: dict[str, list[str]] = {}
    for cell, chosen in summary["cells"].items():
        for name in (value for role, value in chosen["labels"].items() if role not in SETTING):
            if name in pooling.names() or "." in name:  # a class of the user's own is named by its path
                users.setdefault(name, []).append(cell)
    return [_card(pooling.spec(name), cells, summary) for name, cells in users.items()]


def _card(spec: Spec, cells: Sequence[str], summary: Json) -> Card:
    shown = demonstrate(spec)
    both = torch.cat([shown.given.flatten(), shown.made.flatten()])
    span = both.min().item(), both.max().item()
    asked = {*RANKED, *COST, *(key for study in summary["studies"].values() for key in study["ranked"])}
    columns = [
        each for each in METRICS if each.key in asked and any(estimated(summary, cell, each.key) for cell in cells)
    ]
    return Card(
        spec,
        grey(shown.given, span),
        grey(shown.made, span),
        signed(shown.gradient),
        shown.shapes,
        spec.parameters(CHANNELS),
        cells,
        columns,
    )


def options(spec: Spec) -> Mapping[str, str]:
    """The options of an operator with their defaults, as a command line writes them."""
    return {name: repr(option.default) for name, option in spec.options.items()}
