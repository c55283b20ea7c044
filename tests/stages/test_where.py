"""The stage `where`, on a small network and few scenes of generated shapes."""

import json

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from poolbench import config, data, pooling
from poolbench.data.objects import pack
from poolbench.stages import train, where

SMALL = [
    "data=shapes", "data.train=300", "data.test=60", "data.size=16", "model.widths=[4,8]", "budget=smoke",
    "budget.images=128", "budget.epochs=1", "trainer=cpu", "trainer.precision=32-true", "logger=csv", "cell=c",
]  # fmt: skip
FEW = [f"{name}.{key}" for name in ("one", "many") for key in ("of=shapes", "train=60", "test=30", "largest=64")]


def test_every_operator_is_measured(workplace, monkeypatch):
    settings = config.check(config.compose(SMALL))
    store = data.prepare(settings["data"])
    monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"overrides": {"task": []}}}))
    train.fit(settings, store, workplace / "runs/c/seed-0", "mark")
    where.where(config.compose(["cell=c", "seeds=1", "side=32", "maps=40", *FEW], "where"))
    folder = workplace / "studies/measured/where"
    found = {file.parent.name: json.loads(file.read_text()) for file in folder.glob("*/seed-0.json")}
    assert found.keys() == {f"head-{name}" for name in where.HEADS} | {
        f"pool-{each}" for each in pooling.names("local")
    }
    for name, figures in found.items():
        sections = ("centre", "count") if name.startswith("head") else ("map",)
        assert all(value <= 1 for each in sections for key, value in figures[each].items() if key != "error"), name
    assert found["pool-average"]["map"] == found["pool-adaptive_average"]["map"]


def test_centres_and_counts():
    pictures = torch.zeros(2, 1, 10, 20, dtype=torch.uint8).numpy()
    mask = pictures[0, 0] > 0
    things = [where.data.objects.Thing(0, (2, 1, 6, 5), mask), where.data.objects.Thing(0, (0, 0, 20, 10), mask)]
    scenes = pack([(pictures[0], things[:1]), (pictures[1], things[1:])], channels=1)
    assert where.centres(scenes).flatten().tolist() == pytest.approx([0.2, 0.3, 0.5, 0.5])
    assert where.counts(scenes).tolist() == [[1], [1]]
