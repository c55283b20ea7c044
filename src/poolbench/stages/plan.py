"""Stage `plan`: what every cell of params.yaml is, composed and checked before anything trains.

A cell's plan holds its settings and a hash of the code that it executes. It changes only when the cell would train to
other numbers, so DVC trains one cell for a change that concerns one: a new operator, an option, a group in conf/. One
more file holds the hashes of what every evaluation reads, so that DVC compares that once and not for each cell.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from poolbench.config import check, compose
from poolbench.files import CONF, write_json, write_text
from poolbench.params import read
from poolbench.stages.cli import run
from poolbench.stages.train import sources

EVALUATION = (
    "conf/evaluate.yaml",
    "conf/shift/*.yaml",
    "src/poolbench/evaluation/*.py",
    "src/poolbench/stages/evaluate.py",
)
"""What an evaluation depends on besides the run: files of the project."""


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
    write_text(aside / "evaluation.sha256", hashes(CONF.parent, EVALUATION))
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    print(f"{len(plans)} cells, {params.seeds} seeds each, budget {params.budget}")


def hashes(folder: Path, patterns: Sequence[str]) -> str:
    """The SHA-256 of every file that matches, a line each, as `sha256sum` prints and checks them."""
    lines = []
    for pattern in patterns:
        files = sorted(folder.glob(pattern))
        assert files, f"no file is called {pattern}: what an evaluation depends on has moved"
        lines += [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder)}\n" for file in files]
    return "".join(lines)


if __name__ == "__main__":
    run(plan, "plan")
