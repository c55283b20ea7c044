"""The whole chain, by DVC, in a copy of the project: two operators, one seed, generated pictures."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from poolbench.stages import SERVER
from tests.conftest import serving

PROJECT = Path(__file__).parents[2]
MODEL = "model.widths=[4,8] trainer=cpu logger=csv"
CELLS: dict[str, dict[str, object]] = {
    "max": {"data": "shapes", "run": f"pool=max {MODEL}", "studies": ["pooling"]},
    "average": {"data": "shapes", "run": f"pool=average {MODEL}", "studies": ["pooling"]},
}

pytestmark = pytest.mark.slow


class Project:
    """A copy of the project's files, with a params.yaml of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=PROJECT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        for name in filter(None, listed.split("\0")):
            if (PROJECT / name).is_file() and name != "dvc.lock":
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, folder / name)
        subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = os.environ | {"PATH": path, "PYTHONPATH": "src"}

    def params(self, cells: dict[str, dict[str, object]]) -> None:
        content = {
            "budget": "smoke",
            "seeds": 1,
            "data": ["shapes"],
            "studies": ["pooling"],
            "cells": cells,
        }
        OmegaConf.save(OmegaConf.create(content), self.folder / "params.yaml")

    @contextmanager
    def served(self) -> Iterator[None]:
        """Stages are forks of one process that imported the sources as they are now."""
        with serving(self.folder, self.environment) as server:
            self.environment[SERVER] = server
            yield

    def dvc(self, *arguments: str, fails: bool = False) -> str:
        command = [sys.executable, "-m", "dvc", *arguments]
        answer = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert (answer.returncode != 0) == fails, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    @property
    def summary(self) -> dict[str, dict[str, object]]:
        return json.loads((self.folder / "report" / "metrics.json").read_text())


def executed(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture
def project(tmp_path):
    return Project(tmp_path)


def test_the_chain_in_order(project):
    """One test, since each part starts from where the one before it left the project."""
    strided = {"strided": {"data": "shapes", "run": f"pool=strided {MODEL}", "studies": ["pooling"]}}
    with project.served():
        check_the_first_run(project)
        check_that_nothing_runs_again(project)
        check_growing_and_shrinking(project, strided)
    learned = project.folder / "src" / "poolbench" / "pooling" / "learned.py"
    learned.write_text(learned.read_text().replace("self.window.pad(x, 0)", "self.window.pad(x, 0.0)"))
    with project.served():
        assert executed(project.dvc("repro")) == ["plan", "train@strided", "evaluate@strided", "report"]
        check_another_evaluation(project)
        check_a_cell_that_cannot_run(project)
        check_a_cell_that_fails(project)


def check_the_first_run(project):
    project.params(CELLS)
    ran = executed(project.dvc("repro"))
    assert sorted(ran) == sorted(
        ["prepare@shapes", "plan", "train@max", "train@average", "evaluate@max", "evaluate@average", "report"]
    )
    assert project.summary["cells"].keys() == {"max", "average"}
    assert "average" in (project.folder / "report" / "index.html").read_text()


def check_that_nothing_runs_again(project):
    started = time.monotonic()
    again = project.dvc("repro")
    assert time.monotonic() - started < 6
    assert executed(again) == []
    assert "shift_consistency" in project.dvc("metrics", "show")
    assert "train@max" in project.dvc("dag")
    project.dvc("plots", "show")


def check_growing_and_shrinking(project, another):
    """Growing trains the new cell alone; shrinking takes a cell out of the report."""
    project.params(CELLS | another)
    assert executed(project.dvc("repro")) == ["plan", "train@strided", "evaluate@strided", "report"]
    assert project.summary["cells"].keys() == {"max", "average", "strided"}
    project.params({"max": CELLS["max"]} | another)
    assert executed(project.dvc("repro")) == ["plan", "report"]
    assert project.summary["cells"].keys() == {"max", "strided"}
    assert "average" not in (project.folder / "report" / "report.md").read_text()


def check_another_evaluation(project):
    """It trains nothing."""
    settings = project.folder / "conf" / "evaluate.yaml"
    settings.write_text(settings.read_text().replace("layers: 40", "layers: 20"))
    assert sorted(executed(project.dvc("repro"))) == ["evaluate@max", "evaluate@strided", "plan", "report"]


def check_a_cell_that_cannot_run(project):
    """It is named before anything trains."""
    project.params(CELLS | {"broken": {"data": "shapes", "run": f"pool=maxx {MODEL}", "studies": []}})
    output = project.dvc("repro", fails=True)
    assert "cell broken: unknown pool 'maxx'" in output
    assert "Traceback" not in output


def check_a_cell_that_fails(project):
    """One that fails while it trains does not keep the rest from going on."""
    failing = {"data": "shapes", "run": f"pool=max optimizer.lr=1e20 {MODEL}", "studies": []}
    flatten = {"data": "shapes", "run": f"pool=max head=flatten {MODEL}", "studies": ["pooling"]}
    project.params(CELLS | {"failing": failing, "flatten": flatten})
    output = project.dvc("repro", "-k", fails=True)
    assert "lower optimizer.lr" in output
    assert {"train@flatten", "evaluate@flatten"} <= set(executed(output))
    assert not (project.folder / "runs" / "failing" / "seed-0" / "model.safetensors").exists()
