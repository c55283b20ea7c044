"""Stage `shared_features`: what features once a picture save beside a network run on every region.

python -m poolbench.stages.shared_features

Times alone are measured, so nothing is trained. Each way at each size is written as a cell, as the stage `evaluate`
writes those that it measures; every round is a seed of its own.
"""

import shutil
from pathlib import Path

import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from poolbench import data, models, provenance
from poolbench.data import Objects
from poolbench.data.proposals import numbered, propose
from poolbench.evaluation import SCHEMA
from poolbench.evaluation.shared import Times, shared_against_separate
from poolbench.files import write_json
from poolbench.stages.cli import run


def shared_features(config: DictConfig) -> None:
    """Time both ways at each size, round by round, and write <into>/<way>-<size>/seed-<round>.json."""
    options = OmegaConf.to_container(config.data)
    assert isinstance(options, dict)
    store = data.prepare({str(key): value for key, value in options.items()})
    settings = {"model": {"name": "fast_rcnn_mini"}, "region": dict(config.region)}
    model = models.build(settings, store.info).eval()
    models.initialise(model, seed=0)
    network = model.get_submodule("network")
    assert isinstance(network, models.detection.FastRcnn)
    into = Path(config.into)
    aside = into.with_name(f"{into.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    scenes = store.scenes("test")
    about = {
        "schema": SCHEMA,
        "command": "make study-shared_features",
        "environment": provenance.environment(),
        "data": {"name": store.name, "checksum": store.checksum, "classes": store.classes},
        "test": {"images": 1},
        "history": [],
    }
    first = min(config.sizes)
    shared_against_separate(network, torch.zeros(1, scenes.channels, first, first), torch.zeros(1, 5), config.side)
    for seed in range(config.rounds):
        for size in config.sizes:
            picture, objects = resized(scenes.image(seed), scenes.objects(seed), size)
            random = torch.Generator().manual_seed(seed)
            boxes = numbered([propose(objects, torch.tensor([size, size]), config.proposals, random)])
            prepared = model.get_submodule("normalise")(picture[None])
            times = shared_against_separate(network, prepared, boxes, config.side)
            print(f"{size} pixels, round {seed + 1}: {times.separate / times.shared:.1f} times faster", flush=True)
            for way, speed in speeds(times).items():
                cell = f"{way}-{size}"
                (aside / cell).mkdir(parents=True, exist_ok=True)
                labels = {"model": "fast_rcnn_mini", "data": store.name, "way": way, "size": str(size)}
                figures = {"cell": cell, "seed": seed, "labels": labels, "speed": speed}
                write_json(aside / cell / f"seed-{seed}.json", about | figures)
    shutil.rmtree(into, ignore_errors=True)
    aside.rename(into)


def resized(image: Tensor, objects: Objects, size: int) -> tuple[Tensor, Objects]:
    """A picture (C, H, W) of size x size pixels, with its objects where they are then."""
    height, width = image.shape[1:]
    picture = F.interpolate(image[None].float(), (size, size), mode="bilinear", align_corners=False)[0]
    factor = torch.tensor([size / width, size / height]).repeat(2)
    return picture, Objects(objects.boxes * factor, objects.labels, objects.crowd)


def speeds(times: Times) -> dict[str, dict[str, float]]:
    """Of both ways, the seconds a picture, and how many times faster than R-CNN's it is: in all, and the maps alone."""
    ratio = times.separate / times.shared
    features = times.separate_features / times.shared_features
    return {
        "shared": {"seconds": times.shared, "ratio": ratio, "features_ratio": features},
        "separate": {"seconds": times.separate, "ratio": 1.0, "features_ratio": 1.0},
    }


if __name__ == "__main__":
    run(shared_features, "shared_features")
