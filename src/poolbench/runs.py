"""The run folder: one cell at one seed, enough by itself to evaluate, to explain and to repeat.

config.yaml         every setting, resolved
model.safetensors   the weights
history.csv         a row an epoch
learned.csv         what the operators learned, a row a letter, slot and epoch; none where they learn nothing
metrics.json        validation figures after the last epoch
environment.json    commit, versions, machine, data checksum, durations, fingerprint
"""

import csv
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import nn

from poolbench import models, pooling
from poolbench.data import Store
from poolbench.data.fit import shown
from poolbench.files import write_json

SCHEMA = 1
FILES = ("config.yaml", "model.safetensors", "history.csv", "metrics.json", "environment.json")
LEARNED = "learned.csv"

Row = dict[str, Any]


@dataclass(frozen=True)
class Run:
    """A finished run, read from its folder."""

    folder: Path

    def __post_init__(self) -> None:
        if missing := [name for name in FILES if not (self.folder / name).is_file()]:
            raise ValueError(f"{self.folder} is no finished run, it lacks {', '.join(missing)}: train it (again)")
        if (schema := self.environment.get("schema")) != SCHEMA:
            raise ValueError(
                f"{self.folder} has schema {schema}, this version reads {SCHEMA}: delete the folder and train it again"
            )

    @cached_property
    def config(self) -> dict[str, Any]:
        config = OmegaConf.to_container(OmegaConf.load(self.folder / "config.yaml"))
        assert isinstance(config, dict)
        return {str(key): value for key, value in config.items()}

    @cached_property
    def environment(self) -> dict[str, Any]:
        return json.loads((self.folder / "environment.json").read_text())

    @cached_property
    def metrics(self) -> dict[str, Any]:
        return json.loads((self.folder / "metrics.json").read_text())

    @property
    def score(self) -> float:
        """What a search maximises: top-1 accuracy on the held-out pictures, or the mean IoU of segmentation."""
        found = self.metrics["validation"]
        return found["top1" if "top1" in found else "miou"]

    @property
    def history(self) -> list[Row]:
        """One row an epoch."""
        return read_rows(self.folder / "history.csv")

    @property
    def learned(self) -> list[Row]:
        """What the operators learned, a row a letter, slot and epoch."""
        file = self.folder / LEARNED
        return read_rows(file) if file.is_file() else []

    def model(self, store: Store) -> nn.Module:
        """The trained classifier, in evaluation mode: stored pictures in, logits out."""
        if store.checksum != self.environment["data"]["checksum"]:
            raise ValueError(
                f"{self.folder} was trained on other pictures than {store.folder} holds now: train it again"
            )
        model = models.build(self.config, shown(store.info, self.config["data"]))
        model.load_state_dict(load_file(self.folder / "model.safetensors"))
        return model.eval()

    def swapped(self, store: Store, pool: str) -> nn.Module:
        """The trained classifier with another operator in its pool slots, and no further training.

        Raises ValueError for an operator with weights of its own, or one that does not fit the network.
        """
        if pooling.spec(pool).parameters(channels=8):
            raise ValueError(f"swaps: {pool} has weights of its own, which nothing has trained: leave it out")
        try:
            return models.swap(self.model(store), pool, example=store.test.images[:1])
        except ValueError as error:
            raise ValueError(f"swaps: {error}") from error


def finished(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` holds a run that the same settings, code and data made."""
    return all((folder / name).is_file() for name in FILES) and Run(folder).environment["fingerprint"] == fingerprint


def begin(folder: Path, config: Mapping[str, Any], fingerprint: str) -> Path:
    """The folder beside `folder` where a run is written until it is finished.

    One that an interrupted run of the same fingerprint left is handed back as it is, to go on from.
    """
    aside = folder.with_name(f"{folder.name}.partial")
    mark = aside / "fingerprint"
    if not (mark.is_file() and mark.read_text() == fingerprint):
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        OmegaConf.save(OmegaConf.create(dict(config)), aside / "config.yaml")
        mark.write_text(fingerprint)
    return aside


def finish(
    aside: Path, folder: Path, model: nn.Module, metrics: Mapping[str, Any], environment: Mapping[str, Any]
) -> Run:
    """Complete the files of a run and put it in its place, over one that is there."""
    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, aside / "model.safetensors")
    write_json(aside / "metrics.json", metrics)
    fingerprint = (aside / "fingerprint").read_text()
    write_json(aside / "environment.json", {"schema": SCHEMA, "fingerprint": fingerprint, **environment})
    for leftover in aside.iterdir():
        if leftover.name not in (*FILES, LEARNED):
            leftover.unlink()
    shutil.rmtree(folder, ignore_errors=True)
    aside.rename(folder)
    return Run(folder)


def read_rows(file: Path) -> list[Row]:
    """The rows of a history.csv or a learned.csv, numbers as numbers."""
    with file.open(newline="") as stream:
        return [
            {key: value if key in ("slot", "letter") else float(value) for key, value in row.items()}
            for row in csv.DictReader(stream)
        ]


def precision(name: str, device: str) -> torch.autocast:
    """The arithmetic that a run trained in, by Lightning's name for it, for use in evaluation."""
    formats = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
    return torch.autocast(device, dtype=formats.get(name, torch.bfloat16), enabled=name in formats)
