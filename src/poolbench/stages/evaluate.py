"""Stage `evaluate`: what the trained runs of a cell do on test pictures, as they are and shifted.

python -m poolbench.stages.evaluate runs=multirun/2026-01-31_12-00-00/runs
"""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig

from poolbench import data, models
from poolbench.evaluation import circular, classification, cost
from poolbench.files import write_json
from poolbench.report.records import SCHEMA
from poolbench.runs import Run, precision
from poolbench.stages.cli import run

BATCH = 1000
COST_IMAGES = 256
LABELS = ("model", "data", "pool", "head", "budget")


def evaluate(config: DictConfig) -> None:
    """Evaluate the runs of one cell, or of every cell in a folder of runs, into the folder `evaluation` beside it."""
    folder = Path(config.runs)
    cells = [folder / config.cell] if config.cell else sorted(each for each in folder.iterdir() if each.is_dir())
    for cell in cells:
        evaluate_cell(cell, seeds(cell, config.seeds), config.shift)


def seeds(cell: Path, count: int | None) -> list[int]:
    """The seeds of a cell to look at: the first `count`, or all that its folder holds."""
    if count is not None:
        return list(range(count))
    numbers = (each.name.removeprefix("seed-") for each in cell.glob("seed-*"))
    found = sorted(int(number) for number in numbers if number.isdigit())
    if not found:
        raise ValueError(f"{cell} holds no runs (folders seed-<n>): give the folder that holds the cells' folders")
    return found


def destination(cell: Path) -> Path:
    """Where the evaluation of a cell's runs lies: evaluation/<cell>, beside the folder of runs."""
    return cell.parent.parent / "evaluation" / cell.name


def evaluate_cell(cell: Path, chosen: Sequence[int], shift: Mapping[str, int]) -> None:
    """Write evaluation/<cell>/seed-<n>.json for each run, and evaluation/<cell>.json, their means, which DVC shows."""
    figures = {seed: evaluate_run(Run(cell / f"seed-{seed}"), shift) for seed in chosen}
    folder = destination(cell)
    folder.mkdir(parents=True, exist_ok=True)
    for seed, each in figures.items():
        write_json(folder / f"seed-{seed}.json", each)
    means = summary(list(figures.values()))
    write_json(folder.with_name(f"{cell.name}.json"), means)
    print(f"{cell.name}: " + ", ".join(f"{key} {value:.4g}" for key, value in means.items()))


def summary(figures: list[dict[str, Any]]) -> dict[str, float]:
    """The columns of `dvc metrics show`: means over the seeds."""
    columns = {
        "accuracy": ("test", "top1"),
        "shift_consistency": ("shift", "consistency"),
        "worst_shift_accuracy": ("shift", "worst_accuracy"),
        "step_ms": ("cost", "step_ms"),
    }
    means = {name: statistics.fmean(each[section][key] for each in figures) for name, (section, key) in columns.items()}
    return {name: round(mean, 5) for name, mean in means.items()} | {"seeds": len(figures)}


def evaluate_run(trained: Run, shift: Mapping[str, int]) -> dict[str, Any]:
    """Every figure of one run, from its folder and the data set's store alone."""
    started = time.perf_counter()
    store = data.prepare(trained.config["data"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = trained.model(store).to(device)
    images, labels = store.test.images.to(device), store.test.labels.to(device)
    count = min(shift["images"], len(labels))
    with precision(trained.environment["precision"], device.type):
        with torch.inference_mode():
            logits = torch.cat([model(batch).float() for batch in images.split(BATCH)])
        shifted = circular(model, images[:count], labels[:count], shift["range"], BATCH)
        operators = {slot.name: slot.layer for slot in models.slots(model, images[:1]) if slot.layer is not None}
        spent = cost(model, operators, images[:COST_IMAGES])
    return {
        "schema": SCHEMA,
        "cell": trained.config["cell"],
        "seed": trained.config["seed"],
        "labels": {label: trained.config[label]["name"] for label in LABELS},
        "command": trained.environment["command"],
        "data": trained.environment["data"],
        "test": {
            "images": len(labels),
            "loss": F.cross_entropy(logits, labels).item(),
            **classification(logits, labels),
        },
        "validation": trained.metrics["validation"],
        "shift": asdict(shifted),
        "cost": asdict(spent),
        "duration": {
            "train_s": trained.environment["seconds"],
            "evaluate_s": round(time.perf_counter() - started, 3),
        },
        "history": trained.history,
    }


if __name__ == "__main__":
    run(evaluate, "evaluate")
