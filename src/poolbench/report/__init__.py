"""The report: statistics over seeds, figures, tables, the page. Pure: the report stage reads and writes files."""

from poolbench.report.page import render
from poolbench.report.records import Provenance, Result, Study
from poolbench.report.summary import summarise
from poolbench.report.tables import (
    best,
    confusion_rows,
    history_rows,
    latex,
    markdown,
    rows,
    shift_rows,
    terminal_table,
)

__all__ = [
    "Provenance",
    "Result",
    "Study",
    "best",
    "confusion_rows",
    "history_rows",
    "latex",
    "markdown",
    "render",
    "rows",
    "shift_rows",
    "summarise",
    "terminal_table",
]
