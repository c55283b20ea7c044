"""params.yaml: which cells run, at which budget, with how many seeds, and the studies that they belong to.

python -m poolbench.params lp       what DVC reproduces for the study `lp`
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from poolbench import studies
from poolbench.naming import unknown
from poolbench.studies import load

FOLDERS = (Path(), Path("studies"))
"""Where params.yaml and dvc.yaml lie: the cells of `make repro`, and those that studies run besides."""


@dataclass
class Cell:
    """One cell: its data set, what else it sets as Hydra overrides, and its studies."""

    data: str = MISSING
    run: str = MISSING
    studies: list[str] = field(default_factory=list)

    def overrides(self, name: str, budget: str) -> list[str]:
        """The overrides that compose a run of the cell."""
        return [f"cell={name}", f"budget={budget}", f"data={self.data}", *self.run.split()]


@dataclass
class Params:
    """The whole of params.yaml."""

    budget: str = MISSING
    seeds: int = MISSING
    data: list[str] = MISSING
    cells: dict[str, Cell] = MISSING
    studies: list[str] = field(default_factory=list)
    """Those that the report on these cells answers."""

    @property
    def every_study(self) -> set[str]:
        """The studies that any cell belongs to."""
        return {study for cell in self.cells.values() for study in cell.studies}

    def members(self, study: str) -> Sequence[str]:
        """The cells of a study, in the order of params.yaml."""
        return [name for name, cell in self.cells.items() if study in cell.studies]


def read(file: Path) -> Params:
    """Read and check params.yaml. Raises ValueError that names what is misspelt, missing or out of range."""
    params = load(file, Params)
    assert isinstance(params, Params)
    if params.seeds < 1:
        raise ValueError(f"{file}: seeds must be at least 1, got {params.seeds}")
    if not params.cells:
        raise ValueError(f"{file}: cells is empty: name at least one")
    for name, cell in params.cells.items():
        _check_studies(f"{file}: cell {name}", cell.studies)
    _check_studies(str(file), params.studies)
    return params


def _check_studies(where: str, chosen: Sequence[str]) -> None:
    for name in chosen:
        if name not in studies.names():
            raise ValueError(f"{where}: {unknown('study', name, studies.names())}, or write conf/study/{name}.yaml")


def whole(study: str) -> dict[Path, Params]:
    """The folders whose params.yaml has cells of a study, the project's own first. Raises ValueError where none has."""
    found = {folder: read(folder / "params.yaml") for folder in FOLDERS}
    having = {folder: params for folder, params in found.items() if params.members(study)}
    if not having:
        raise unknown("study", study, sorted({each for params in found.values() for each in params.every_study}))
    return having


def targets(study: str) -> list[str]:
    """What DVC reproduces to evaluate every cell of a study."""
    if stage := studies.study(study).stage:
        return [f"{FOLDERS[1] / 'dvc.yaml'}:{stage}"]
    return [
        f"{folder / 'dvc.yaml'}:evaluate@{cell}"
        for folder, params in whole(study).items()
        for cell in params.members(study)
    ]


if __name__ == "__main__":
    print(*targets(sys.argv[1]))
