"""params.yaml: which cells run, at which budget, with how many seeds, and the studies that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import MISSING

from poolbench import studies
from poolbench.naming import unknown
from poolbench.studies import load


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
    shares: dict[str, list[str]] = field(default_factory=dict)
    """In studies/params.yaml, by study: the evaluations of cells in params.yaml that it takes too."""

    @property
    def studies(self) -> list[str]:
        """The studies that the cells belong to, in the order of params.yaml."""
        return list(dict.fromkeys(study for cell in self.cells.values() for study in cell.studies))

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
        for each in cell.studies:
            if each not in studies.names():
                raise ValueError(f"{file}: cell {name}: {unknown('study', each, studies.names())}, or write conf/study")
    return params
