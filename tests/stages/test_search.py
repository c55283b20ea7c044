"""A search: the same by Hydra with Optuna and by W&B."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from poolbench import config
from poolbench.files import CONF

pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="pip install 'poolbench[search]'")
SWEEP = CONF.parent / "sweeps" / "operator.yaml"


def test_an_agent_starts_runs_that_compose():
    from wandb.sdk.launch.sweeps import utils

    definition = yaml.safe_load(SWEEP.read_text())
    chosen = {"pool": {"value": "max_blur"}, "optimizer.lr": {"value": 3e-05}}
    arguments = utils.create_sweep_command_args({"args": chosen})
    command = [arguments.get(word[2:-1], [word]) for word in definition["command"]]
    words = [word for part in command for word in part]
    overrides = words[words.index("${program}") + 1 :]
    settings = config.check(config.compose([*overrides, "cell=c"]))
    assert (settings["pool"]["name"], settings["optimizer"]["lr"]) == ("max_blur", 3e-05)


def test_both_search_the_same_space():
    by_hydra = OmegaConf.create(yaml.safe_load((CONF / "search" / "operator.yaml").read_text())).hydra.sweeper
    by_wandb = yaml.safe_load(SWEEP.read_text())
    assert by_wandb["parameters"].keys() == by_hydra.params.keys()
    assert by_wandb["run_cap"] == by_hydra.n_trials
    for key, asked in by_wandb["parameters"].items():
        (override,) = OverridesParser.create().parse_overrides([f"{key}={by_hydra.params[key]}"])
        space: Any = override.value()
        if "values" in asked:
            assert asked["values"] == list(space.list)
        else:
            assert (asked["min"], asked["max"]) == (space.start, space.end)
            assert ("log" in space.tags) == asked["distribution"].startswith("log")


@pytest.mark.slow
def test_optuna_finds_the_best_of_its_runs(workplace, served):
    small = ["data=shapes", "data.train=200", "data.test=60", "data.size=16", "model.widths=[4,8]", "budget=smoke"]
    command = [
        sys.executable, "-W", "ignore", "-m", "poolbench.stages.train", "-m", "+search=operator", *small,
        "budget.images=128", "logger=csv", "hydra.sweeper.n_trials=3", "hydra.sweep.dir=runs",
    ]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True)
    found = OmegaConf.load("runs/optimization_results.yaml")
    trained = [json.loads(file.read_text()) for file in Path("runs").glob("*/seed-0/metrics.json")]
    assert len(trained) == 3
    assert math.isclose(found.best_value, max(each["validation"]["top1"] for each in trained))
    assert not list(Path("runs").glob("*search*"))
