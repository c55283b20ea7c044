"""Stage `report`: evaluated runs to a page that answers the studies' questions.

python -m poolbench.stages.report
python -m poolbench.stages.report only=lp
python -m poolbench.stages.report runs=multirun/2026-01-31_12-00-00/runs
python -m poolbench.stages.report compare=path/to/other/metrics.json latex=true
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from omegaconf import DictConfig
from rich.console import Console

from poolbench import provenance, report, studies
from poolbench.files import write_json, write_rows, write_text
from poolbench.params import read, whole
from poolbench.stages import tracking
from poolbench.stages.cli import run
from poolbench.stages.evaluate import COLUMNS, evaluate_cell, seeds


@dataclass(frozen=True)
class Selection:
    """What a report is about: evaluated cells with their seeds, the studies, where it goes, what repeats it."""

    evaluations: Mapping[Path, Sequence[int]]
    studies: Sequence[report.Study]
    into: Path
    commands: Sequence[str]
    lock: Path | None = None


def build(config: DictConfig) -> None:
    """Write the report on the cells of params.yaml, on one further study, or on all in a folder of runs beside it."""
    selection = _sweep(config) if config.runs else _study(config.only) if config.only else _pipeline()
    results = [result for cell, ran in selection.evaluations.items() for result in _results(cell, ran)]
    where = report.Provenance(
        environment=provenance.environment(),
        commands=selection.commands,
        repeat={result.cell: result.metrics["command"] for result in reversed(results)},
        lock=locked(selection.lock) if selection.lock else None,
    )
    summary = report.summarise(results, selection.studies, where)
    other = json.loads(Path(config.compare).read_text()) if config.compare else None
    into = selection.into
    into.mkdir(parents=True, exist_ok=True)
    write_text(into / "index.html", report.render(summary, results, other))
    write_json(into / "metrics.json", summary)
    write_json(into / "best.json", report.best(summary))
    write_text(into / "report.md", report.markdown(summary))
    if config.latex:
        write_text(into / "tables.tex", report.latex(summary))
    write_rows(into / "results.csv", report.rows(results))
    tables = {
        "history": report.history_rows(results),  # a stage that measures trains nothing
        "shifts": report.shift_rows(results),
        "confusion": report.confusion_rows(results),
    }
    for name, rows in tables.items():
        if rows:
            write_rows(into / f"{name}.csv", rows)
    if config.logger.name == "wandb":
        evaluated = {
            Path(config.runs or cell.parents[1] / "runs", cell.name, f"seed-{seed}"): cell / f"seed-{seed}.json"
            for cell, ran in selection.evaluations.items()
            for seed in ran
        }
        files = [into / name for name in ("index.html", "metrics.json", "report.md", "results.csv")]
        tracking.publish_report(config.logger.project, summary, results, evaluated, files)
    Console(width=max(110, Console().width)).print(report.terminal_table(summary))
    print(into / "index.html")


def _pipeline() -> Selection:
    """The cells of params.yaml, in the studies that they belong to."""
    params = read(Path("params.yaml"))
    return Selection(
        {Path("evaluation", cell): range(params.seeds) for cell in params.cells},
        [_asked(name, params.members(name)) for name in params.studies],
        Path("report"),
        ["make repro", "make test"],
        Path("dvc.lock"),
    )


def _study(name: str) -> Selection:
    """One study with all its cells, those that `make repro` leaves out too, or those that a stage measures."""
    if stage := studies.study(name).stage:
        return _measured(name, stage)
    evaluations = {
        folder / "evaluation" / cell: range(params.seeds)
        for folder, params in whole(name).items()
        for cell in params.members(name)
    }
    study = _asked(name, [cell.name for cell in evaluations])
    return Selection(evaluations, [study], Path("studies", "report", name), [f"make study-{name}"])


def _measured(name: str, stage: str) -> Selection:
    """The studies of the cells that one stage measures, this one first."""
    folder = Path("studies", "measured", stage)
    asked = [name, *(each for each in studies.names() if each != name and studies.study(each).stage == stage)]
    cells = {each: sorted(folder.glob(studies.study(each).cells)) for each in asked}
    return Selection(
        {
            cell: sorted(int(file.stem.removeprefix("seed-")) for file in cell.glob("seed-*.json"))
            for members in cells.values()
            for cell in members
        },
        [_asked(each, [cell.name for cell in members]) for each, members in cells.items()],
        Path("studies", "report", name),
        [f"make study-{name}"],
    )


def _sweep(config: DictConfig) -> Selection:
    """Every cell in a folder of runs; those that were not evaluated are evaluated now."""
    folder = Path(config.runs)
    cells = {each: seeds(each, None) for each in sorted(folder.iterdir()) if each.is_dir()}
    evaluations = {folder.parent / "evaluation" / cell.name: ran for cell, ran in cells.items()}
    for (cell, ran), evaluation in zip(cells.items(), evaluations, strict=True):
        if not all((evaluation / f"seed-{seed}.json").exists() for seed in ran):
            evaluate_cell(cell, ran, config, evaluation)
    first, (seed, *_) = next(iter(evaluations.items()))
    task = json.loads((first / f"seed-{seed}.json").read_text())["task"]
    study = report.Study(
        folder.parent.name,
        "Which of these runs does best?",
        "cell",
        [cell.name for cell in evaluations],
        metric=".".join(next(iter(COLUMNS[task].values()))),
    )
    return Selection(
        evaluations, [study], folder.parent / "report", [f"python -m poolbench.stages.report runs={folder}"]
    )


def _asked(name: str, cells: Sequence[str]) -> report.Study:
    asked = studies.study(name)
    tested = [claim for claim in asked.claims if {claim.better, claim.than} <= set(cells)]
    return report.Study(name, asked.question, asked.factor, cells, tested, asked.metric)


def locked(file: Path) -> str | None:
    """The digest of what DVC has locked of every stage but the report, which it locks only after this."""
    if not file.is_file():
        return None
    stages = {name: each for name, each in yaml.safe_load(file.read_text())["stages"].items() if name != "report"}
    return hashlib.sha256(json.dumps(stages, sort_keys=True).encode()).hexdigest()


def _results(cell: Path, ran: Sequence[int]) -> list[report.Result]:
    figures = [json.loads((cell / f"seed-{seed}.json").read_text()) for seed in ran]
    return [report.Result(cell.name, each["seed"], each["labels"], each) for each in figures]


if __name__ == "__main__":
    run(build, "report")
