"""Stage `plan`: what every cell of params.yaml is, composed and checked before anything trains.

A cell's plan holds its settings and a hash of the code that it executes. It changes only when the cell would train to
other numbers, so DVC trains one cell for a change that concerns one: a new operator, an option, a group in conf/.
"""

import shutil
from pathlib import Path

from omegaconf import DictConfig

from poolbench.config import check, compose
from poolbench.files import write_json
from poolbench.params import read
from poolbench.stages.cli import run
from poolbench.stages.train import sources


def plan(config: DictConfig) -> None:
    """Write plan/<cell>.json for every cell. Raises ValueError that names the cell at fault, before writing any."""
    params = read(Path(config.params))
    plans = {}
    for cell, entry in params.cells.items():
        try:
            settings = check(compose(entry.overrides(cell, params.budget)))
            plans[cell] = {"settings": settings, "sources": sources(settings)}
        except Exception as error:
            error.add_note(f"cell {cell}")
            raise
    folder = Path(config.into)
    aside = folder.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    for cell, content in plans.items():
        write_json(aside / f"{cell}.json", content)
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    print(f"{len(plans)} cells, {params.seeds} seeds each, budget {params.budget}")


if __name__ == "__main__":
    run(plan, "plan")
