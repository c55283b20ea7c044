"""Runs on scenes of generated shapes: segmentation, and classification of pictures of several sizes."""

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from poolbench import config, data, runs
from poolbench.stages import train
from poolbench.stages.evaluate import cost_run, evaluate_run, summary

SMALL = [
    "data=scenes", "data.of=shapes", "data.train=60", "data.test=20", "data.smallest=32", "data.largest=48",
    "data.low=0.4", "data.high=0.8", "data.most=1", "budget=smoke", "budget.images=48", "budget.epochs=1",
    "budget.batch_size=16", "trainer=cpu", "trainer.precision=32-true", "logger=csv", "cell=c",
]  # fmt: skip


@pytest.fixture
def figures(workplace, monkeypatch):
    """Trains here, in this process, and measures the run."""

    def go(*overrides):
        settings = config.check(config.compose([*SMALL, *overrides]))
        store = data.prepare(settings["data"])
        monkeypatch.setattr(HydraConfig.instance(), "cfg", OmegaConf.create({"hydra": {"overrides": {"task": []}}}))
        folder = workplace / "runs/c/seed-0"
        train.fit(settings, store, folder, train.fingerprint(settings, store))
        run = runs.Run(folder)
        return evaluate_run(run, {}) | {"cost": cost_run(run)}

    return go


def test_a_segmenter_with_a_context(figures):
    chosen = ["task=segmentation", "model=fcn_mini", "model.widths=[4,4,8,8,8]", "model.output_stride=8", "context=ppm"]
    found = figures(*chosen)
    assert found["test"]["images"] == 20
    assert 0 <= found["test"]["boundary_iou"] <= found["test"]["miou"] <= found["test"]["pixels"] <= 1
    assert found["labels"]["context"] == "ppm"
    assert len(found["pictures"]) == 6
    assert summary([found]).keys() == {"miou", "boundary_iou", "step", "seeds"}


def test_a_classifier_of_pictures_in_full(figures):
    chosen = ["data.fit=full", "data.sides=[24,32]", "head=spp", "head.levels=[1,2]", "model.widths=[4,8]"]
    found = figures(*chosen)
    assert 10 < found["test"]["images"] <= 20  # those that have an object
    assert found["scale"].keys() == {"half", "three_quarters", "five_quarters", "half_more"}
    assert found["validation"]["images"] == 3  # a twentieth of 60
    assert summary([found]).keys() == {"accuracy", "step", "seeds"}


def test_a_flattened_map_is_of_one_size(figures):
    found = figures("data.fit=crop", "data.sides=[24]", "head=flatten", "model.widths=[4,8]")
    assert found["scale"] == {}
    assert found["cost"]["parameters"] == 1 * 4 * 9 + 4 * 8 * 9 + 2 * (4 + 8) + (8 * 6 * 6 + 1) * 6
