"""Tables for CSV, DVC's plots, the terminal and Markdown."""

import csv
import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from poolbench.report.records import Provenance, Result, Study, measured
from poolbench.report.summary import summarise
from poolbench.report.tables import HEADINGS, history_rows, markdown_table, rows, terminal_table

Evaluate = Callable[..., dict[str, Any]]


def test_rows_are_flat_and_one_a_run(results: list[Result]) -> None:
    flat = rows(results)
    out = io.StringIO()
    writer = csv.DictWriter(out, flat[0].keys())
    writer.writerows(flat)
    assert len(out.getvalue().splitlines()) == len(results) == 27
    assert list(flat[0]) == [
        "cell",
        "seed",
        "model",
        "data",
        "pool",
        "head",
        "budget",
        *(each.key for each in measured(results)),
    ]
    assert flat[0]["test.top1"] == results[0].metrics["test"]["top1"]


def test_history_rows_are_one_an_epoch(results: list[Result]) -> None:
    flat = history_rows(results)
    assert len(flat) == 27 * 3
    assert [row["epoch"] for row in flat[:3]] == [0, 1, 2]
    assert flat[0]["cell"] == results[0].cell


def test_terminal_and_markdown_show_the_same_ranking(
    results: list[Result], studies: list[Study], provenance: Provenance
) -> None:
    summary = summarise(results, studies, provenance)
    printed = _printed(summary)
    markdown = markdown_table(summary)
    ranked = [line.split(" | ") for line in markdown.splitlines() if line[2:3].isdigit()]
    assert len(ranked) == 7 + 3
    assert all(len(words) == len(HEADINGS) for words in ranked)
    for words in ranked:
        assert all(word in printed for word in words[1:-1])
    assert ranked[0][1] == "strided"


def test_markup_in_names_is_text(evaluation: Evaluate) -> None:
    name = "[bold]a|b<script>"
    study = Study("pool", "Which [red]one?", "pool", [name, "c"])
    results = [Result(cell, 0, {"pool": cell}, evaluation()) for cell in study.cells]
    summary = summarise(results, [study], Provenance({}, []))
    printed = _printed(summary)
    assert name in printed
    assert "Which [red]one?" in printed
    assert "[bold]a\\|b&lt;script>" in markdown_table(summary)


def _printed(summary: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(terminal_table(summary))
    return captured.get()
