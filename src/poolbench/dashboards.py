"""The W&B dashboards of a project, as code: a workspace to look around in, and a report that explains what is to see.

python -m poolbench.dashboards --project poolbench                       writes them as files, and says so
WANDB_MODE=online python -m poolbench.dashboards --project poolbench     makes them there, or brings them up to date
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import wandb
import wandb_workspaces.reports.v2 as wr
import wandb_workspaces.workspaces as ws
from wandb_workspaces import expr
from wandb_workspaces._graphql import execute_graphql
from wandb_workspaces.reports.v2.interface import BlockTypes, PanelTypes

from poolbench.files import write_text

NAME = "Which pooling"
VIEW = "nw-poolbench-v"
"""What W&B calls the workspace, and finds it by again."""
ACCURACY, CONSISTENCY = wr.SummaryMetric("validation_top1"), wr.SummaryMetric("shift_consistency")
OPERATOR = wr.Config("operator")
VIEWS = """
query Views($entity: String, $project: String, $type: String) {
    project(name: $project, entityName: $entity) {
        allViews(viewType: $type) { edges { node { id name displayName } } }
    }
}
"""


@dataclass(frozen=True)
class Section:
    """Panels under a heading, with a sentence that says how to read them."""

    title: str
    reading: str
    panels: Sequence[PanelTypes]


def sections() -> list[Section]:
    """Every panel that a dashboard shows."""
    return [
        Section(
            "Frontier",
            "A point is a run; up and to the right is better. The table has each run's figures on test pictures.",
            [
                wr.ScatterPlot(title="Accuracy against shift consistency", x=CONSISTENCY, y=ACCURACY),
                wr.WeavePanelSummaryTable(table_name="results"),
            ],
        ),
        Section(
            "Ranking",
            "Means over seeds with their standard error: bars whose errors overlap are not told apart.",
            [
                _bars("Validation accuracy", "validation_top1"),
                _bars("Shift consistency", "shift_consistency"),
                _bars("Logit drift under shifts", "shift_logit_drift"),
            ],
        ),
        Section(
            "Curves by operator",
            "Means over seeds by epoch, with their standard error.",
            [
                _curves("Validation accuracy", "validation_top1"),
                _curves("Training loss", "train_loss"),
                _curves("Calibration error", "validation_ece"),
            ],
        ),
        Section(
            "Shift maps",
            "Accuracy when pictures move by up to three pixels, from dark, 0, to bright, 1; in place in the middle.",
            [wr.MediaBrowser(title="Accuracy at each shift", media_keys=["shift_map"], num_columns=6)],
        ),
        Section(
            "What operators learn",
            "The exponents p, the weights w and the gates of each slot, by epoch.",
            [wr.LinePlot(title="Learned parameters", x="epoch", metric_regex="learned/.*", max_runs_to_show=100)],
        ),
        Section(
            "Predictions",
            "The same test pictures for every run: the class, the answer, and how sure it is.",
            [wr.MediaBrowser(title="Answers", media_keys=["predictions"], num_columns=8)],
        ),
        Section(
            "Comparison",
            "What differs between runs, and which choices lead to which figures.",
            [wr.RunComparer(diff_only="split"), _parallel()],
        ),
    ]


def _bars(title: str, metric: str) -> wr.BarPlot:
    return wr.BarPlot(
        title=title, metrics=[metric], groupby=OPERATOR, groupby_aggfunc="mean", groupby_rangefunc="stderr"
    )


def _curves(title: str, metric: str) -> wr.LinePlot:
    return wr.LinePlot(
        title=title,
        x="epoch",
        y=[metric],
        groupby=OPERATOR,
        groupby_aggfunc="mean",
        groupby_rangefunc="stderr",
        max_runs_to_show=100,
    )


def _parallel() -> wr.ParallelCoordinatesPlot:
    axes: dict[str, wr.Config | wr.SummaryMetric] = {
        "operator": OPERATOR,
        "head": wr.Config("head.name"),
        "learning rate": wr.Config("optimizer.lr"),
        "shift consistency": CONSISTENCY,
        "validation accuracy": ACCURACY,
    }
    columns = [wr.ParallelCoordinatesPlotColumn(metric=metric, display_name=name) for name, metric in axes.items()]
    return wr.ParallelCoordinatesPlot(title="From choices to figures", columns=columns)


def workspace(entity: str, project: str) -> ws.Workspace:
    """The workspace, not saved: a section of panels each, runs of a cell together."""
    made = ws.Workspace(
        entity=entity,
        project=project,
        name=NAME,
        sections=[ws.Section(name=each.title, panels=list(each.panels), is_open=True) for each in sections()],
        settings=ws.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=ws.RunsetSettings(groupby=[expr.Metric("Group")]),
    )
    made._internal_name = VIEW
    return made


def report(entity: str, project: str) -> wr.Report:
    """The report, not saved: the same panels, each section with how to read it."""
    runs = wr.Runset(name="Runs")  # those of the report's own project
    blocks: list[BlockTypes] = [
        wr.P("Which pooling should this network use, on this data, and how sure can we be?"),
        wr.TableOfContents(),
    ]
    for each in sections():
        blocks += [wr.H2(each.title), wr.P(each.reading), wr.PanelGrid(runsets=[runs], panels=list(each.panels))]
    return wr.Report(entity=entity, project=project, title=NAME, blocks=blocks)


def save(entity: str | None, project: str) -> list[str]:
    """Make both at W&B, or bring up to date those that are there. Gives their addresses."""
    api = wandb.Api()
    entity = entity or api.default_entity
    if not entity:
        raise ValueError("this W&B account has no team of its own: name one with --entity")
    explained, looked = report(entity, project), workspace(entity, project)
    explained.id = _views(api, entity, project, "runs", "displayName").get(NAME, "")
    explained.save()  # makes the project, where there is none
    looked._internal_id = _views(api, entity, project, "project-view", "name").get(VIEW, "")
    looked.save()
    return [looked.url, explained.url]


def _views(api: wandb.Api, entity: str, project: str, kind: str, key: str) -> Mapping[str, str]:
    """The ids of a project's views of one kind, by one of their names."""
    answer = execute_graphql(api, VIEWS, {"entity": entity, "project": project, "type": kind})
    views = answer["project"]["allViews"]["edges"] if answer["project"] else []
    return {view["node"][key]: view["node"]["id"] for view in views}


def write(entity: str, project: str, folder: Path) -> list[Path]:
    """Write both definitions as W&B stores them."""
    definitions = {
        "workspace.json": workspace(entity, project)._to_model().spec,
        "report.json": report(entity, project)._to_model().spec,
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, spec in definitions.items():
        write_text(folder / name, spec.model_dump_json(by_alias=True, exclude_none=True, indent=2) + "\n")
    return [folder / name for name in definitions]


def main(arguments: Sequence[str]) -> int:
    """What the command line asks for; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m poolbench.dashboards", description="W&B dashboards as code.")
    parser.add_argument("--project", default="poolbench", help="the W&B project: logger.project of the runs")
    parser.add_argument("--entity", help="the W&B user or team; without it, your own")
    parser.add_argument("--into", type=Path, default=Path("dashboards"), help="where files go, offline")
    asked = parser.parse_args(arguments)
    if os.environ.get("WANDB_MODE") == "online":
        try:
            print(*save(asked.entity, asked.project), sep="\n")
        except (wandb.errors.Error, ValueError) as error:
            print(f"poolbench: {str(error).splitlines()[0]}", file=sys.stderr)
            return 1
        return 0
    for file in write(asked.entity or "entity", asked.project, asked.into):
        print(file)
    print(
        f"W&B is offline: WANDB_MODE=online would make or update the workspace and the report {NAME!r} "
        f"in {asked.entity or 'your'} project {asked.project!r}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
