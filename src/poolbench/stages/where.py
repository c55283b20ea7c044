"""Stage `where`: what pooling forgets, measured on the maps of trained networks.

python -m poolbench.stages.where

Every global operator's vector is asked where an object lies and how many there are; from what every local operator
makes of a map, the map is rebuilt. Each is written as a cell, as the stage `evaluate` writes those that it measures.
"""

import shutil
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from poolbench import data, models, pooling
from poolbench.data import Scenes, Store
from poolbench.data.fit import squares
from poolbench.evaluation import SCHEMA, maps_before, reconstruction, told
from poolbench.files import write_json
from poolbench.parallel import side_by_side
from poolbench.runs import Run
from poolbench.stages.cli import run
from poolbench.stages.evaluate import ENVIRONMENT

HEADS: dict[str, dict[str, Any]] = {
    "gap": {"name": "gap"},
    "gmp": {"name": "gmp"},
    "spp_2": {"name": "spp", "levels": [2]},
    "spp_4": {"name": "spp", "levels": [4]},
    "spp_1_2_4": {"name": "spp", "levels": [1, 2, 4]},
    "map": {"name": "map"},
    "flatten": {"name": "flatten"},
}
"""The vectors that are asked: a pyramid level by level, and whole."""

Cells = Iterator[tuple[str, dict[str, Any]]]


def where(config: DictConfig) -> None:
    """Measure every run of the cell, and write <into>/<cell>/seed-<n>.json for each operator."""
    folder = Path(config.runs, config.cell)
    trained = [Run(folder / f"seed-{seed}") for seed in range(config.seeds)]
    settings = OmegaConf.to_container(config)
    assert isinstance(settings, dict)
    sets = {name: data.prepare(settings[name]) for name in ("one", "many")}
    measured = side_by_side(partial(measure, sets=sets, side=config.side, maps=config.maps), trained)
    into = Path(config.into)
    aside = into.with_name(f"{into.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    for seed, cells in enumerate(measured):
        for name, figures in cells.items():
            (aside / name).mkdir(parents=True, exist_ok=True)
            write_json(aside / name / f"seed-{seed}.json", {"cell": name, "seed": seed, **figures})
    shutil.rmtree(into, ignore_errors=True)
    aside.rename(into)
    print(f"{into}: {len(measured[0])} operators, {len(measured)} seeds")


def measure(trained: Run, sets: Mapping[str, Store], side: int, maps: int) -> dict[str, dict[str, Any]]:
    """The figures of every operator on the maps of one run, by the name of its cell."""
    started = time.perf_counter()
    store = data.prepare(trained.config["data"])
    model = trained.model(store)
    slots = [slot.layer for slot in models.slots(model, store.test.images[:1])]
    if len(slots) < 2 or None in slots:
        raise ValueError(f"{trained.folder}: where needs a network with layers for its pooling and its head")
    first, head = slots[0], slots[-1]
    assert first is not None
    assert head is not None
    found: dict[str, dict[str, Any]] = {}
    common = {"schema": SCHEMA, "command": "make study-where", "history": []}
    labels = {"model": trained.config["model"]["name"], "budget": trained.config["budget"]["name"]}
    for name, figures in _heads(model, head, sets, side, trained.config["seed"]):
        found[f"head-{name}"] = {"labels": labels | {"data": sets["one"].name, "head": name}, **figures}
    for name, figures in _pools(maps_before(model, first, store.test.images[:maps])):
        found[f"pool-{name}"] = {"labels": labels | {"data": store.name, "pool": name}, **figures}
    seconds = round(time.perf_counter() - started, 3)
    where = {key: trained.environment[key] for key in ENVIRONMENT if key in trained.environment}
    described = {"data": {**trained.environment["data"], "classes": store.classes}, "environment": where}
    return {name: common | described | each | {"duration": {"evaluate_s": seconds}} for name, each in found.items()}


def _heads(model: nn.Module, head: nn.Module, sets: Mapping[str, Store], side: int, seed: int) -> Cells:
    """What each head tells of the maps before the network's own: the centre of one object, the number of many."""
    asked = {}
    for name, target in (("one", centres), ("many", counts)):
        splits = [sets[name].scenes(part) for part in ("train", "test")]
        asked[name] = [(maps_before(model, head, squares(each, "warp", side)), target(each)) for each in splits]
    channels = asked["one"][0][0].shape[1]
    for name, options in HEADS.items():
        figures = {}
        for task, (seen, fresh) in asked.items():
            torch.manual_seed(seed)
            figures[task] = told(pooling.create(**options, channels=channels).eval(), seen, fresh, seed)
        test = {"images": len(asked["one"][1][1])}
        yield name, {"test": test, "centre": figures["one"], "count": figures["many"]}


def _pools(maps: Tensor) -> Cells:
    """How much of the maps each local operator keeps, one with weights as it starts out."""
    slot = nn.Sequential(nn.MaxPool2d(2))
    for name in pooling.names("local"):
        torch.manual_seed(0)
        operator = models.swap(slot, name, example=maps[:1]).eval()
        with torch.no_grad():
            kept = reconstruction(maps, operator(maps))
        weights = sum(parameter.numel() for parameter in operator.parameters())
        yield name, {"test": {"images": len(maps)}, "map": {"kept": kept}, "cost": {"parameters": weights}}


def centres(scenes: Scenes) -> Tensor:
    """Where the one object of each picture lies, as shares of the picture's width and height: (N, 2)."""
    middle = (scenes.boxes[:, :2] + scenes.boxes[:, 2:]) / 2
    return middle / scenes.sizes.flip(1)


def counts(scenes: Scenes) -> Tensor:
    """How many objects each picture has, (N, 1)."""
    return scenes.counts[:, None].float()


if __name__ == "__main__":
    run(where, "where")
