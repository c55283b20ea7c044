"""The whole chain, by DVC, in a copy of the project: two operators, one seed, generated pictures."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

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

    def params(self, cells: dict[str, dict[str, object]]) -> None:
        content = {
            "budget": "smoke",
            "seeds": 1,
            "data": ["shapes"],
            "studies": ["pooling"],
            "cells": cells,
        }
        OmegaConf.save(OmegaConf.create(content), self.folder / "params.yaml")

    def dvc(self, *arguments: str, fails: bool = False) -> str:
        binaries = str(Path(sys.executable).parent)
        environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": "src"}
        answer = subprocess.run(
            [sys.executable, "-m", "poolbench.stages.forkserver", sys.executable, "-m", "dvc", *arguments],
            cwd=self.folder, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        assert (answer.returncode != 0) == fails, answer.stdout + answer.stderr
        return answer.stdout + answer.stderr

    @property
    def summary(self) -> dict[str, dict[str, object]]:
        return json.loads((self.folder / "report" / "metrics.json").read_text())


def executed(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The project after its first `dvc repro`."""
    project = Project(tmp_path_factory.mktemp("project"))
    project.params(CELLS)
    ran = executed(project.dvc("repro"))
    assert sorted(ran) == sorted(
        ["prepare@shapes", "plan", "train@max", "train@average", "evaluate@max", "evaluate@average", "report"]
    )
    return project


def test_the_chain_in_order(project):
    """One test, since each part starts from where the one before it left the project."""
    assert project.summary["cells"].keys() == {"max", "average"}
    page = (project.folder / "report" / "index.html").read_text()
    assert "average" in page

    started = time.monotonic()
    again = project.dvc("repro")
    assert time.monotonic() - started < 6
    assert executed(again) == []

    shown = project.dvc("metrics", "show")
    assert "shift_consistency" in shown
    assert "train@max" in project.dvc("dag")
    project.dvc("plots", "show")

    # growing trains the new cell alone
    more = CELLS | {"strided": {"data": "shapes", "run": f"pool=strided {MODEL}", "studies": ["pooling"]}}
    project.params(more)
    assert executed(project.dvc("repro")) == ["plan", "train@strided", "evaluate@strided", "report"]
    assert project.summary["cells"].keys() == {"max", "average", "strided"}

    # shrinking takes a cell out of the report
    project.params({name: cell for name, cell in more.items() if name != "average"})
    assert executed(project.dvc("repro")) == ["plan", "report"]
    assert project.summary["cells"].keys() == {"max", "strided"}
    assert "average" not in (project.folder / "report" / "report.md").read_text()

    # an operator's code concerns the cells that use it
    learned = project.folder / "src" / "poolbench" / "pooling" / "learned.py"
    learned.write_text(learned.read_text().replace("self.window.pad(x, 0)", "self.window.pad(x, 0.0)"))
    ran = executed(project.dvc("repro"))
    assert "train@strided" in ran
    assert "train@max" not in ran

    # a cell that cannot run is named before anything trains
    broken = more | {"broken": {"data": "shapes", "run": f"pool=maxx {MODEL}", "studies": []}}
    project.params(broken)
    output = project.dvc("repro", fails=True)
    assert "cell broken: unknown pool 'maxx'" in output
    assert "Traceback" not in output

    # one that fails while it trains does not keep the rest from going on
    failing = CELLS | {
        "failing": {"data": "shapes", "run": f"pool=max optimizer.lr=1e20 {MODEL}", "studies": []},
        "flatten": {"data": "shapes", "run": f"pool=max head=flatten {MODEL}", "studies": ["pooling"]},
    }
    project.params(failing)
    output = project.dvc("repro", "-k", fails=True)
    assert "lower optimizer.lr" in output
    assert {"train@flatten", "evaluate@flatten"} <= set(executed(output))
    assert not (project.folder / "runs" / "failing" / "seed-0" / "model.safetensors").exists()
