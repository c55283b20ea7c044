"""Stage `report`: evaluated runs to a page that answers the studies' questions.

python -m poolbench.stages.report
python -m poolbench.stages.report runs=multirun/2026-01-31_12-00-00/runs
"""

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from poolbench import provenance, report, studies
from poolbench.files import write_json, write_rows, write_text
from poolbench.params import read
from poolbench.stages.cli import run
from poolbench.stages.evaluate import destination, evaluate_cell, seeds


def build(config: DictConfig) -> None:
    """Write the report on the cells of params.yaml, or on all in a folder of runs, beside that folder."""
    if config.runs:
        folder = Path(config.runs)
        cells = {each: seeds(each, None) for each in sorted(folder.iterdir()) if each.is_dir()}
        names = [cell.name for cell in cells]
        chosen = [report.Study(folder.parent.name, "Which of these runs does best?", "cell", names)]
        commands = [f"python -m poolbench.stages.report runs={folder}"]
    else:
        folder = Path("runs")
        params = read(Path(config.params))
        cells = {folder / name: list(range(params.seeds)) for name in params.cells}
        asked = {name: studies.study(name) for name in params.studies}
        chosen = [
            report.Study(name, study.question, study.factor, params.members(name), study.claims)
            for name, study in asked.items()
        ]
        commands = ["make repro", "make test"]
    results = [result for cell, ran in cells.items() for result in _results(cell, ran, config)]
    used = {result.metrics["data"]["name"]: result.metrics["data"]["checksum"] for result in results}
    where = report.Provenance(
        environment=provenance.environment() | {"data": used},
        commands=commands,
        repeat={result.cell: result.metrics["command"] for result in reversed(results)},
    )
    summary = report.summarise(results, chosen, where)
    into = folder.parent / "report"
    into.mkdir(exist_ok=True)
    write_text(into / "index.html", report.render(summary, results))
    write_json(into / "metrics.json", summary)
    write_text(into / "table.md", report.markdown_table(summary))
    write_rows(into / "results.csv", report.rows(results))
    write_rows(into / "history.csv", report.history_rows(results))
    Console(width=max(110, Console().width)).print(report.terminal_table(summary))
    print(into / "index.html")


def _results(cell: Path, chosen: Sequence[int], config: DictConfig) -> list[report.Result]:
    """The evaluated runs of a cell; one that was not evaluated is evaluated now."""
    files = [destination(cell) / f"seed-{seed}.json" for seed in chosen]
    if not all(file.exists() for file in files):
        evaluate_cell(cell, list(chosen), config)
    figures = [json.loads(file.read_text()) for file in files]
    return [report.Result(cell.name, each["seed"], each["labels"], each) for each in figures]


if __name__ == "__main__":
    run(build, "report")
