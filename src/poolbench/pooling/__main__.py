"""The registry in the terminal: `python -m poolbench.pooling` lists it, with a name it shows that operator's card."""

import argparse
import inspect
import sys
from typing import Any

import torch
from rich.columns import Columns
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text
from torch import Tensor

from poolbench.pooling.demonstration import demonstrate
from poolbench.pooling.registry import KINDS, Kind, Spec, names, spec

KIND_TITLES: dict[Kind, str] = {
    "local": "local: a map to a smaller map",
    "global": "global: a map to a vector",
    "token": "token: a sequence of tokens to a vector",
    "region": "region: a map and boxes to a grid for each box",
    "context": "context: a map to a map of the same size that has seen many scales",
}
CHANNELS = 64
"""Where the number of learned numbers is given."""
SHADES = " .:-=+*#%@"


def table(kind: Kind) -> Table:
    """All operators of a kind, one a row."""
    grid = Table(title=KIND_TITLES[kind], title_justify="left", title_style="bold", expand=True)
    grid.add_column("name", no_wrap=True, style="cyan")
    for heading, ratio in (("title", 3), ("formula", 5), ("paper", 2)):
        grid.add_column(heading, ratio=ratio)
    grid.add_column("learns", justify="right")
    grid.add_column("draws")
    for each in map(spec, names(kind)):
        learned = f"{each.parameters(CHANNELS):,}" if each.parameters(CHANNELS) else ""
        paper = f"{each.paper.authors.split(',')[0]} {each.paper.year}"
        grid.add_row(*map(Text, (each.name, each.title, each.formula, paper, learned, "yes" if each.random else "")))
    return grid


def registry() -> Group:
    """The whole registry, a table a kind."""
    tables = [table(kind) for kind in KINDS if names(kind)]
    note = f"learns: learned numbers at {CHANNELS} channels; draws: random in training"
    return Group(*tables, Text(f"{note}\npython -m poolbench.pooling NAME shows an operator's card", style="dim"))


def card(spec: Spec, colour: bool) -> Panel:
    """Everything the registry knows of one operator, and a picture of it at work."""
    facts = Table.grid(padding=(0, 2))
    facts.add_column(style="bold", no_wrap=True)
    paper = f"{spec.paper.authors} ({spec.paper.year}). {spec.paper.title}. {spec.paper.link}"
    for name, fact in (
        ("formula", spec.formula),
        ("paper", paper),
        ("kind", KIND_TITLES[spec.kind]),
        ("shape", spec.shape),
        ("gradient", spec.gradient),
        ("numbers", spec.numbers),
        ("departs", spec.departs),
        ("learns", f"{spec.parameters(CHANNELS):,} numbers at {CHANNELS} channels"),
        ("draws", "random in training" if spec.random else "nothing"),
    ):
        if fact:
            facts.add_row(name, Text(fact))
    for number, (name, option) in enumerate(spec.options.items()):
        facts.add_row("" if number else "options", Text(f"{name}: {type_name(option.type)} = {option.default!r}"))
    parts: list[RenderableType] = [Text(spec.title, style="bold cyan"), facts, Text(), picture(spec, colour)]
    return Panel(Group(*parts), title=spec.name)


def type_name(annotation: Any) -> str:
    """How an annotation is written."""
    return annotation.__name__ if inspect.isclass(annotation) else str(annotation)


def picture(spec: Spec, colour: bool) -> Columns:
    """One map going in and coming out, side by side and in the same shades."""
    shown = demonstrate(spec)
    low, high = min(shown.given.min(), shown.made.min()), max(shown.given.max(), shown.made.max())
    pictures = [half_blocks((each - low) / (high - low), colour) for each in (shown.given, shown.made)]
    captions = [f"{way} {shape}" for way, shape in zip(("in", "out"), shown.shapes, strict=True)]
    return Columns([text.append(caption) for text, caption in zip(pictures, captions, strict=True)], padding=(0, 4))


def half_blocks(pixels: Tensor, colour: bool) -> Text:
    """A map of numbers from 0 to 1 in characters, two rows of the map to a line: in grey, or in shades of ink."""
    if len(pixels) % 2:
        pixels = torch.cat([pixels, pixels[-1:]])
    text = Text(no_wrap=True)
    for upper, lower in zip(pixels[::2].tolist(), pixels[1::2].tolist(), strict=True):
        for top, bottom in zip(upper, lower, strict=True):
            if colour:
                text.append("▀", style=f"rgb({grey(top)}) on rgb({grey(bottom)})")
            else:
                text.append(SHADES[round((top + bottom) / 2 * (len(SHADES) - 1))])
        text.append("\n")
    return text


def grey(value: float) -> str:
    """Red, green and blue of a number from 0 to 1."""
    return ",".join([str(round(255 * value))] * 3)


def main(arguments: list[str] | None = None) -> int:
    """Print the registry, or one operator's card; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m poolbench.pooling", description="Every pooling operator.")
    parser.add_argument("name", nargs="?", help="an operator, or the path of a class of yours, whose card is shown")
    name = parser.parse_args(arguments).name
    console = Console(highlight=False)
    if name is None:
        console.print(registry())
        return 0
    try:
        facts = spec(name)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    console.print(card(facts, colour=console.color_system is not None))
    return 0


if __name__ == "__main__":
    sys.exit(main())
