"""Tables for CSV, DVC's plots, the terminal and Markdown."""

import csv
import io
from collections.abc import Callable
from typing import Any

from rich.console import Console

from poolbench.report.records import Provenance, Result, Study, measured
from poolbench.report.summary import summarise
from poolbench.report.tables import (
    best,
    confusion_rows,
    headings,
    history_rows,
    latex,
    markdown,
    rows,
    shift_rows,
    terminal_table,
)

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
    text = markdown(summary)
    ranked = [line.split(" | ") for line in text.splitlines() if line[2:3].isdigit()]
    assert len(ranked) == 7 + 3
    assert all(len(words) == len(headings(summary["studies"]["pool"])) for words in ranked)
    for words in ranked:
        assert all(word in printed for word in words[1:-1])
    assert ranked[0][1] == "strided"
    for said in ("## Which head?", "- Together: ", "    make repro", "Commit 0123456789abcdef."):
        assert said in text


def test_best_is_first_in_each_ranking(results: list[Result], studies: list[Study], provenance: Provenance) -> None:
    summary = summarise(results, studies, provenance)
    found = best(summary)
    assert found.keys() == summary["studies"].keys()
    means = [each["test"]["top1"]["mean"] for name, each in summary["cells"].items() if name in studies[0].cells]
    assert found[studies[0].name]["test.top1"] == max(means)


def test_rows_of_other_tasks_leave_empty_what_they_lack(evaluation: Evaluate) -> None:
    other = evaluation()
    del other["shift"]
    other["history"] = [{"epoch": 1, "validation_map": 0.5}]
    runs = [Result("a", 0, {"pool": "a"}, evaluation()), Result("b", 0, {"task": "detection"}, other)]
    assert rows(runs)[1]["shift.consistency"] is None
    assert rows(runs)[0]["task"] is None
    assert history_rows(runs)[-1]["validation_map"] == 0.5
    assert history_rows(runs)[-1]["validation_top1"] is None


def test_latex_rows_are_whole_and_escaped(evaluation: Evaluate) -> None:
    study = Study("pool", "Which 100 % one?", "pool", ["max_blur", "c&d"])
    results = [Result(cell, seed, {"pool": cell}, evaluation()) for cell in study.cells for seed in range(2)]
    text = latex(summarise(results, [study], Provenance({}, [])))
    (columns,) = [line for line in text.splitlines() if line.startswith(r"\begin{tabular}")]
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert {line.replace(r"\&", "").count("&") + 1 for line in body} == {len(columns.partition("}{")[2].rstrip("}"))}
    assert r"max\_blur" in text
    assert r"c\&d" in text
    assert r"Which 100 \% one?" in text
    assert r"$\pm$" in body[1]


def test_markup_in_names_is_text(evaluation: Evaluate) -> None:
    name = "[bold]a|b<script>"
    study = Study("pool", "Which [red]one?", "pool", [name, "c"])
    results = [Result(cell, 0, {"pool": cell}, evaluation()) for cell in study.cells]
    summary = summarise(results, [study], Provenance({}, []))
    printed = _printed(summary)
    assert name in printed
    assert "Which [red]one?" in printed
    assert "[bold]a\\|b&lt;script>" in markdown(summary)


def _printed(summary: dict[str, Any]) -> str:
    console = Console(file=io.StringIO(), width=200)
    with console.capture() as captured:
        console.print(terminal_table(summary))
    return captured.get()


def test_confusion_adds_up_over_seeds(results):
    rows = confusion_rows(results)
    counts = {(row["class"], row["answer"]): row["count"] for row in rows if row["cell"] == results[0].cell}
    seeds = [run for run in results if run.cell == results[0].cell]
    once = seeds[0].metrics["confusion"]
    assert counts["coat", "shirt"] == len(seeds) * once["0"]["1"]
    assert sum(counts.values()) == sum(
        n for run in seeds for each in run.metrics["confusion"].values() for n in each.values()
    )


def test_every_shift_has_a_row(results):
    rows = [row for row in shift_rows(results) if (row["cell"], row["seed"]) == (results[0].cell, results[0].seed)]
    shift = results[0].metrics["shift"]
    assert [[row["dy"], row["dx"]] for row in rows] == shift["moves"]
    assert [row["accuracy"] for row in rows] == shift["accuracy_by_move"]
