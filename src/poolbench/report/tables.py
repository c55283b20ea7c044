"""The report as tables: flat rows for CSV and for DVC's plots, and the ranking for the terminal and for Markdown."""

from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from poolbench.report.answer import finding
from poolbench.report.records import Result, measured, metric
from poolbench.report.summary import ACCURACY, CONSISTENCY, SPEED, Json

Row = dict[str, Any]


def rows(results: Sequence[Result]) -> list[Row]:
    """One flat row a run: cell, seed, labels, then every metric by its key."""
    return [
        {
            "cell": run.cell,
            "seed": run.seed,
            **run.labels,
            **{each.key: run.value(each.key) for each in measured(results)},
        }
        for run in results
    ]


def history_rows(results: Sequence[Result]) -> list[Row]:
    """One flat row an epoch of a run: cell, seed, then what the epoch logged."""
    return [{"cell": run.cell, "seed": run.seed, **epoch} for run in results for epoch in run.metrics["history"]]


def terminal_table(summary: Json) -> Group:
    """Each study's ranking, to be printed by rich."""
    tables: list[RenderableType] = []
    for study in summary["studies"].values():
        table = Table(
            title=escape(study["question"]),
            title_justify="left",
            title_style="bold",
            caption=NOTE,
            caption_justify="left",
            box=SIMPLE_HEAD,
            collapse_padding=True,
            pad_edge=False,
        )
        for heading in HEADINGS:
            if heading in LEFT:
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(fill(heading, 12), justify="right", no_wrap=True)
        for row in ranking_rows(summary, study):
            table.add_row(*map(escape, row))
        tables.append(table)
        tables += [f"{escape(line)}\n" for line in claim_lines(study)]
    return Group(*tables)


def markdown_table(summary: Json) -> str:
    """Each study's ranking in Markdown, for a README or a paper."""
    rule = "|".join(" --- " if heading in LEFT else " ---: " for heading in HEADINGS)
    blocks = []
    for study in summary["studies"].values():
        lines = [_markdown_row(row) for row in ranking_rows(summary, study)]
        table = [_markdown_row(HEADINGS), f"|{rule}|", *lines]
        claims = [f"- {_escaped(line)}" for line in claim_lines(study)]
        blocks.append("\n".join([f"**{study['question']}**", "", *table, "", NOTE, *(["", *claims] if claims else [])]))
    return "\n\n".join(blocks) + "\n"


NOTE = "± half of a 95 % t interval over n seeds; the rank is the range that the paired differences leave open."
LEFT = ("Variant", "Accuracy not told apart from")
HEADINGS = (
    "Rank",
    "Variant",
    metric(ACCURACY).heading,
    "Behind the best, points",
    metric(CONSISTENCY).heading,
    metric(SPEED).heading,
    "n",
    "Accuracy not told apart from",
)


def ranking_rows(summary: Json, study: Json) -> list[tuple[str, ...]]:
    """A study's ranking by accuracy as text, a tuple of HEADINGS' length for each cell."""
    names = study["names"]
    return [
        (
            rank_range(place),
            names[place["cell"]],
            figure(place, ACCURACY),
            behind(place, ACCURACY),
            figure(summary["cells"][place["cell"]]["shift"]["consistency"], CONSISTENCY),
            figure(summary["cells"][place["cell"]]["cost"]["step_ms"], SPEED),
            str(place["n"]),
            ", ".join(names[cell] for cell in place["indistinguishable_from"]) or "-",
        )
        for place in study["rankings"][ACCURACY]
    ]


def claim_lines(study: Json) -> list[str]:
    """Each claim of a study with its verdict and the paired difference that says so."""
    return [f"{claim['says']} ({claim['source']}): {claim['verdict']}, {finding(claim)}" for claim in study["claims"]]


def rank_range(place: Json) -> str:
    """The ranks that the paired comparisons leave open.

    >>> rank_range({"first": 1, "last": 3})
    '1-3'
    """
    return str(place["first"]) if place["first"] == place["last"] else f"{place['first']}-{place['last']}"


def figure(estimate: Json, key: str) -> str:
    """A mean with half its interval, which is symmetric.

    >>> figure({"n": 1, "mean": 0.885, "low": None, "high": None}, "test.top1")
    '88.5 ± unknown'
    """
    return f"{metric(key).number(estimate['mean'])} ± {_margin(estimate, metric(key).number)}"


def behind(place: Json, key: str) -> str:
    """A place's paired difference to the best with half its interval; a dash for the best itself."""
    difference = place["behind"]
    if difference is None:
        return "-"
    shown = metric(key).difference
    return f"{shown(difference['mean'])} ± {_margin(difference, shown)}"


def _margin(estimate: Json, shown: Callable[[float], str]) -> str:
    return "unknown" if estimate["low"] is None else shown(estimate["high"] - estimate["mean"]).lstrip("+")


def _markdown_row(words: Sequence[str]) -> str:
    return "| " + " | ".join(map(_escaped, words)) + " |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
