"""What W&B is told, read back from the files that it writes offline."""

import json
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import wandb
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from poolbench import config, runs
from poolbench.stages import report, tracking, train

pytestmark = pytest.mark.slow

RUN = ["budget=smoke", "budget.images=48", "trainer=cpu", "trainer.precision=32-true", "cell=c"]
SMALL = [
    *RUN, "budget.images=256", "data=shapes", "data.train=400", "data.test=120", "data.size=16", "model.widths=[4,8]",
    "pool=max", "head=gap",
]  # fmt: skip
SCENES = [
    *RUN, "data=scenes", "data.of=shapes", "data.train=60", "data.test=20", "data.smallest=32", "data.largest=48",
]  # fmt: skip


def recorded(content: bytes) -> Iterator[bytes]:
    """The records of a W&B file: a LevelDB log of blocks of 32 KiB, in which a long record comes in parts."""
    place, record = 7, b""
    while place < len(content):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        size, kind = struct.unpack_from("<HB", content, place + 4)
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield record
            record = b""


class Told:
    """One W&B run: what it was started with, the rows that it logged, its artifacts by type, its exit code."""

    def __init__(self, file: Path) -> None:
        from wandb.proto import wandb_internal_pb2

        records = [wandb_internal_pb2.Record.FromString(each) for each in recorded(file.read_bytes())]
        (self.run,) = [each.run for each in records if each.WhichOneof("record_type") == "run"]
        self.config = {item.key: json.loads(item.value_json) for item in self.run.config.update}
        self.rows: list[dict[str, Any]] = [
            {(item.key or ".".join(item.nested_key)): json.loads(item.value_json) for item in each.history.item}
            for each in records
            if each.WhichOneof("record_type") == "history"
        ]
        sent = [each.request.log_artifact.artifact for each in records if each.request.HasField("log_artifact")]
        sent += [each.artifact for each in records if each.WhichOneof("record_type") == "artifact"]
        self.artifacts = {each.type: each for each in sent}
        (self.exit_code,) = [each.exit.exit_code for each in records if each.WhichOneof("record_type") == "exit"]


def told(folder: Path) -> dict[str, Told]:
    """The W&B runs below a folder by their names."""
    wandb.teardown()  # waits for the service, which writes the files after a run is finished
    found = [Told(file) for file in folder.glob("wandb/offline-run-*/run-*.wandb")]
    return {each.run.display_name: each for each in found}


def start(
    monkeypatch: pytest.MonkeyPatch, *overrides: str, folder: str = "runs/c/seed-0", small: Sequence[str] = SMALL
) -> float | None:
    hydra = {"overrides": {"task": []}, "runtime": {"output_dir": folder}}
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": hydra}))
    return train.train(config.compose([*small, *overrides]))


def test_a_run_is_told_whole(workplace, monkeypatch):
    cells = "cells: {c: {data: shapes, run: '', studies: [pooling, heads]}}"
    (workplace / "params.yaml").write_text(cells)
    accuracy = start(monkeypatch)
    trained = runs.Run(Path("runs/c/seed-0"))
    assert accuracy == trained.metrics["validation"]["top1"]
    (run,) = told(workplace).values()
    started = run.run
    assert (started.display_name, started.run_group, started.project) == ("c/seed-0", "c", "poolbench")
    assert (started.job_type, list(started.tags)) == ("train", ["heads", "pooling"])
    assert run.config["pool"] == trained.config["pool"]
    assert run.config["operator"] == "max"
    accuracies = [row["validation_top1"] for row in run.rows if "validation_top1" in row]
    assert accuracies == pytest.approx([row["validation_top1"] for row in trained.history])
    (seen,) = [row for row in run.rows if "shift_consistency" in row]
    assert seen["shift_consistency"] == trained.metrics["shift"]["consistency"]
    assert (seen["shift_map.width"], seen["predictions.count"]) == (7 * 24, 16)
    assert run.artifacts["dataset"].name == "shapes"
    assert run.artifacts["dataset"].use_after_commit
    assert run.artifacts["model"].name == "c-seed-0"
    assert not run.artifacts["model"].use_after_commit
    assert run.exit_code == 0


def test_what_an_operator_learns_is_a_curve(workplace, monkeypatch):
    start(monkeypatch, "pool=lp_learned")
    (run,) = told(workplace).values()
    curve = [(row["epoch"], row["learned/p/pool1"]) for row in run.rows if "learned/p/pool1" in row]
    trained = runs.Run(Path("runs/c/seed-0"))
    assert curve == [(row["epoch"], row["mean"]) for row in trained.learned if row["slot"] == "pool1"]
    assert len(curve) == 3


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # W&B leaves the sweep's file open
def test_a_run_of_a_sweep_keeps_what_it_is(workplace, monkeypatch):
    """W&B locks what its sweep chose: `pool` is a name there, and settings here."""
    (workplace / "sweep.yaml").write_text("wandb_version: 1\npool: {value: max}\noptimizer.lr: {value: 0.05}\n")
    monkeypatch.setenv("WANDB_SWEEP_ID", "abc")
    monkeypatch.setenv("WANDB_SWEEP_PARAM_PATH", str(workplace / "sweep.yaml"))
    settings = config.check(config.compose([*SMALL, "optimizer.lr=0.05"]))
    with tracking.training(settings) as run:
        assert run
    (kept,) = told(workplace).values()
    assert kept.run.sweep_id == "abc"
    assert (kept.config["operator"], kept.config["pool"], kept.config["optimizer"]["lr"]) == ("max", "max", 0.05)


@pytest.mark.parametrize(
    ("chosen", "count"),
    [
        (["data.fit=full", "data.sides=[24,32]", "model.widths=[4,8]", "head=gap"], 16),
        (["task=segmentation", "model=fcn_mini", "model.widths=[4,4,8,8,8]"], 3),
        (["task=detection", "model=fast_rcnn_mini", "model.widths=[4,4,8]"], 3),
    ],
    ids=["classification", "segmentation", "detection"],
)
def test_answers_to_scenes_are_seen(chosen, count, workplace, monkeypatch):
    start(monkeypatch, *chosen, small=SCENES)
    (run,) = told(workplace).values()
    assert [row["predictions.count"] for row in run.rows if "predictions.count" in row] == [count]


def test_a_run_that_fails_is_closed_as_failed(workplace, monkeypatch):
    with pytest.raises(ValueError, match=r"lower optimizer\.lr"):
        start(monkeypatch, "optimizer.lr=1e20")
    (run,) = told(workplace).values()
    assert run.exit_code == 1
    assert "model" not in run.artifacts


def test_no_run_without_wandb(workplace, monkeypatch):
    start(monkeypatch, "logger=csv")
    assert told(workplace) == {}


def test_a_report_links_weights_evaluation_and_page(workplace, monkeypatch):
    start(monkeypatch, "logger=csv", folder="sweep/runs/c/seed-0")
    start(monkeypatch, "logger=csv", "pool=fractional_max", folder="sweep/runs/d/seed-0")  # keeps no whole cells
    shorter = ["shift.range=1", "shift.images=20", "layers=5", "robustness=10"]
    report.build(config.compose(["runs=sweep/runs", *shorter], "report"))
    found = told(workplace)
    evaluated, reported = found["evaluation"], found["report"]
    assert evaluated.artifacts["model"].use_after_commit
    assert not evaluated.artifacts["evaluation"].use_after_commit
    assert reported.artifacts["evaluation"].use_after_commit
    assert evaluated.artifacts["evaluation"].digest == reported.artifacts["evaluation"].digest
    assert [each.path for each in evaluated.artifacts["evaluation"].manifest.contents] == [
        "c/seed-0.json",
        "d/seed-0.json",
    ]
    assert "index.html" in [each.path for each in reported.artifacts["report"].manifest.contents]
    (table,) = [row for row in reported.rows if "results.nrows" in row]
    assert table["results.nrows"] == 2
    assert any("sweep/ranking_table.nrows" in row for row in reported.rows)
    assert list(reported.run.tags) == ["sweep"]
