"""The notebooks: they run as committed, and are committed as they ran."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode

import poolbench
from poolbench import pooling

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
SOURCE = Path(poolbench.__file__).parents[1]


def code_cells(path: Path) -> list[NotebookNode]:
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def outputs(path: Path) -> list[NotebookNode]:
    return [output for cell in code_cells(path) for output in cell.outputs]


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs(path: Path, project: Path, served: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(SOURCE), os.environ.get("PYTHONPATH")])))
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(project)}}).execute()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_keeps_its_outputs(path: Path) -> None:
    assert [cell.execution_count for cell in code_cells(path)] == list(range(1, len(code_cells(path)) + 1))
    kinds = {(output.output_type, output.get("name")) for output in outputs(path)}
    assert ("display_data", None) in kinds
    assert not kinds & {("error", None), ("stream", "stderr")}


@pytest.mark.parametrize("kind", pooling.KINDS)
def test_tour_shows_every_operator(kind: pooling.Kind) -> None:
    tour = outputs(FOLDER / "01_pooling_tour.ipynb")
    shown = "".join(output.data.get("text/markdown", "") for output in tour)
    assert [name for name in pooling.names(kind) if f"`{name}`" not in shown] == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_is_small(path: Path) -> None:
    assert path.stat().st_size < (700_000 if path.stem.startswith("01") else 400_000)
