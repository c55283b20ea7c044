"""params.yaml: which cells run, at which budget, with how many seeds, and the studies that they belong to."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from poolbench.naming import unknown


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
class Question:
    """What a study asks, and the one factor that varies in it."""

    question: str = MISSING
    factor: str = MISSING


@dataclass
class Params:
    """The whole of params.yaml."""

    budget: str = MISSING
    seeds: int = MISSING
    data: list[str] = MISSING
    studies: dict[str, Question] = MISSING
    cells: dict[str, Cell] = MISSING

    def members(self, study: str) -> Sequence[str]:
        """The cells of a study, in the order of params.yaml."""
        return [name for name, cell in self.cells.items() if study in cell.studies]


def read(file: Path) -> Params:
    """Read and check params.yaml. Raises ValueError that names what is misspelt, missing or out of range."""
    try:
        params: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Params), OmegaConf.load(file)))
    except YAMLError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    except OmegaConfBaseException as error:
        raise ValueError(f"{file}: {str(error).splitlines()[0]}") from error
    assert isinstance(params, Params)
    if params.seeds < 1:
        raise ValueError(f"{file}: seeds must be at least 1, got {params.seeds}")
    if not params.cells:
        raise ValueError(f"{file}: cells is empty: name at least one")
    for name, cell in params.cells.items():
        if cell.data not in params.data:
            raise ValueError(f"{file}: cell {name}: {unknown('data set', cell.data, params.data)} (listed under data)")
        for study in cell.studies:
            if study not in params.studies:
                raise ValueError(f"{file}: cell {name}: {unknown('study', study, params.studies)}")
    return params
