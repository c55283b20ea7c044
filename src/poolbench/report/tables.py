"""The report as text: flat rows for CSV and for DVC's plots, the terminal's tables, its twins in Markdown and LaTeX."""

from collections import Counter
from collections.abc import Callable, Sequence
from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from poolbench.report.answer import answer, finding
from poolbench.report.records import METRICS, Result, metric
from poolbench.report.summary import Json

Row = dict[str, Any]


def rows(results: Sequence[Result]) -> list[Row]:
    """One flat row a run: cell, seed, labels, every metric that any run has by its key, empty where one has none."""
    shown = [each for each in METRICS if any(run.has(each.key) for run in results)]
    labels = dict.fromkeys(label for run in results for label in run.labels)
    return [
        {
            "cell": run.cell,
            "seed": run.seed,
            **{label: run.labels.get(label) for label in labels},
            **{each.key: run.value(each.key) if run.has(each.key) else None for each in shown},
        }
        for run in results
    ]


def history_rows(results: Sequence[Result]) -> list[Row]:
    """One flat row an epoch of a run: cell, seed, then what any run logs, empty where one does not."""
    epochs = [(run, epoch) for run in results for epoch in run.metrics["history"]]
    columns = dict.fromkeys(column for _, epoch in epochs for column in epoch)
    return [
        {"cell": run.cell, "seed": run.seed, **{column: epoch.get(column) for column in columns}}
        for run, epoch in epochs
    ]


def shift_rows(results: Sequence[Result]) -> list[Row]:
    """One flat row a shift of a run: cell, seed, the shift in pixels, the accuracy there."""
    return [
        {"cell": run.cell, "seed": run.seed, "dy": dy, "dx": dx, "accuracy": accuracy}
        for run in results
        if "shift" in run.metrics
        for (dy, dx), accuracy in zip(
            run.metrics["shift"]["moves"], run.metrics["shift"]["accuracy_by_move"], strict=True
        )
    ]


def confusion_rows(results: Sequence[Result]) -> list[Row]:
    """One flat row a class and an answer that it got, over a cell's seeds: cell, class, answer, pictures."""
    counts: Counter[tuple[str, str, str]] = Counter()
    for run in results:
        classes = run.metrics["data"]["classes"]
        for label, answers in run.metrics.get("confusion", {}).items():
            for given, count in answers.items():
                counts[run.cell, classes[int(label)], classes[int(given)]] += count
    return [
        {"cell": cell, "class": label, "answer": given, "count": count}
        for (cell, label, given), count in counts.items()
    ]


def best(summary: Json) -> dict[str, dict[str, float]]:
    """Of each study the best mean by every metric that it is ranked by: what DVC compares between commits."""
    return {
        name: {key: places[0]["mean"] for key, places in study["rankings"].items()}
        for name, study in summary["studies"].items()
    }


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
        for heading in headings(study):
            if heading in left(study):
                table.add_column(heading, overflow="fold")
            else:
                table.add_column(fill(heading, 12), justify="right", no_wrap=True)
        for row in ranking_rows(study):
            table.add_row(*map(escape, row))
        tables.append(table)
        tables += [f"{escape(line)}\n" for line in claim_lines(study)]
    return Group(*tables)


def markdown(summary: Json) -> str:
    """The report in Markdown, for a paper or a README: each study's answer, ranking, claims, and how to repeat it."""
    blocks = ["# Which pooling?"]
    for name, study in summary["studies"].items():
        lines = [f"- {topic}: {_escaped(sentence)}" for topic, sentence in answer(study).items()]
        blocks += [f"## {_escaped(study['question'])}", "\n".join(lines), _markdown_table(study), NOTE]
        blocks += [f"Study {name}, {_escaped(study['setting'])}." if study["setting"] else f"Study {name}."]
        if study["claims"]:
            blocks.append("\n".join(f"- {_escaped(line)}" for line in claim_lines(study)))
    blocks += ["## To repeat it", *(f"    {command}" for command in summary["commands"])]
    commit = summary["environment"].get("commit")
    blocks += [f"Commit {commit}{' with changes' if summary['environment'].get('dirty') else ''}."] if commit else []
    return "\n\n".join(blocks) + "\n"


def _markdown_table(study: Json) -> str:
    named = headings(study)
    rule = "|".join(" --- " if heading in left(study) else " ---: " for heading in named)
    return "\n".join([_markdown_row(named), f"|{rule}|", *map(_markdown_row, ranking_rows(study))])


def latex(summary: Json) -> str:
    """Each study's ranking as a LaTeX table (package booktabs)."""
    tables = []
    for name, study in summary["studies"].items():
        columns = "".join("l" if heading in left(study) else "r" for heading in headings(study)[:-1])
        lines = [_latex_row(row[:-1]) for row in (headings(study), *ranking_rows(study))]
        tables.append(
            "\n".join(
                [
                    r"\begin{table}",
                    rf"\caption{{{_latex_escaped(study['question'])} {_latex_escaped(NOTE)}}}",
                    rf"\label{{tab:{name}}}",
                    rf"\begin{{tabular}}{{{columns}}}",
                    r"\toprule",
                    lines[0],
                    r"\midrule",
                    *lines[1:],
                    r"\bottomrule",
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(tables) + "\n"


NOTE = (
    "± half of a 95 % t interval over n seeds; the rank is the range that the paired differences leave open. "
    "× is a multiple of a yardstick's time, taken in turns with it: a step of the network cnn with max pooling, "
    "on the same pictures and in the same arithmetic."
)
VARIANT = "Variant"
MOST_NAMED = 5
"""More variants than these are counted."""


def headings(study: Json) -> tuple[str, ...]:
    """The columns of a study's ranking: the metric that it ranks by, and its other ranked ones."""
    first, *others = map(metric, study["ranked"])
    behind = f"Behind the best, {first.step}" if first.step else "Behind the best"
    return ("Rank", VARIANT, first.heading, behind, *(each.heading for each in others), "n", _apart(study))


def left(study: Json) -> tuple[str, str]:
    """The headings of columns of text."""
    return VARIANT, _apart(study)


def _apart(study: Json) -> str:
    title = metric(study["ranked"][0]).title
    return f"{title[0].upper()}{title[1:]} not told apart from"


def ranking_rows(study: Json) -> list[tuple[str, ...]]:
    """A study's ranking as text, a tuple of the headings' length for each cell."""
    names, (first, *others) = study["names"], study["ranked"]
    estimates = {key: {place["cell"]: place for place in study["rankings"][key]} for key in others}
    return [
        (
            rank_range(place),
            names[place["cell"]],
            figure(place, first),
            behind(place, first),
            *(figure(estimates[key][place["cell"]], key) for key in others),
            str(place["n"]),
            _named([names[cell] for cell in place["indistinguishable_from"]]),
        )
        for place in study["rankings"][first]
    ]


def _named(others: Sequence[str]) -> str:
    return ", ".join(others) or "-" if len(others) <= MOST_NAMED else f"{len(others)} others"


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


def _latex_row(words: Sequence[str]) -> str:
    return " & ".join(map(_latex_escaped, words)) + r" \\"


LATEX: dict[str, str | int | None] = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$",
}  # fmt: skip


def _latex_escaped(text: str) -> str:
    return text.translate(str.maketrans(LATEX))
