"""A project as `make repro` leaves it, from the report's fabricated runs."""

import json
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
import yaml

from poolbench.report import Provenance, Result, Study, summarise
from tests.report.conftest import evaluation, provenance, results, studies

__all__ = ["evaluation", "project", "provenance", "results", "studies"]

SHOWN = {
    "accuracy": "test.top1",
    "shift_consistency": "shift.consistency",
    "worst_shift_accuracy": "shift.worst_accuracy",
}


@pytest.fixture
def project(tmp_path: Path, results: list[Result], studies: list[Study], provenance: Provenance) -> Path:
    """A folder with params.yaml, dvc.yaml, the cells' metrics and the report's."""
    summary = summarise(results, [replace(studies[0], name="pooling")], provenance)
    cells = {cell: {"data": "fashion_mnist", "run": "", "studies": []} for cell in summary["cells"]}
    files = {
        ".dvc/config": "[core]\n    no_scm = true\n",
        "params.yaml": yaml.safe_dump({"budget": "small", "seeds": 3, "cells": cells}),
        "dvc.yaml": yaml.safe_dump({"metrics": [f"evaluation/{cell}.json" for cell in cells]}),
        "report/metrics.json": json.dumps(summary),
    }
    for cell in cells:
        runs = [run for run in results if run.cell == cell]
        means = {name: fmean(run.value(key) for run in runs) for name, key in SHOWN.items()}
        files[f"evaluation/{cell}.json"] = json.dumps(means)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path
