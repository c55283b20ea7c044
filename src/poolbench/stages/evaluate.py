"""Stage `evaluate`: what the trained runs of a cell do on test pictures, as they are, moved and spoilt.

python -m poolbench.stages.evaluate runs=multirun/2026-01-31_12-00-00/runs
"""

import base64
import io
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor, nn

from poolbench import data, models, pooling
from poolbench.data import Scenes, Store
from poolbench.data.feed import batch_of
from poolbench.data.fit import shown, squares
from poolbench.evaluation import (
    SCHEMA,
    activation,
    at_sizes,
    cell_side,
    classification,
    confusion,
    cost,
    detection,
    equivariance,
    geometry,
    maps_before,
    passes,
    reconstruction,
    reliability,
    robustness,
    segmented,
    shift,
    sized,
)
from poolbench.evaluation.segmentation import painted
from poolbench.files import write_json
from poolbench.parallel import side_by_side
from poolbench.runs import Run, precision
from poolbench.stages.cli import run

BATCH = 250
COST_IMAGES = 64
YARDSTICK = {"model": {"name": "cnn"}, "pool": {"name": "max"}, "head": {"name": "gap"}}
"""The network whose step on the same pictures, in the same arithmetic, times are multiples of."""
MAP_IMAGES = 4
ORANGE, OPACITY = (255, 120, 0), 0.75
RANDOM = tuple(pooling.spec(name).operator for name in pooling.names("local") if pooling.spec(name).random)
"""Operators that draw in training."""
ENVIRONMENT = (
    "commit",
    "dirty",
    "python",
    "versions",
    "system",
    "processor",
    "gpu",
    "threads",
    "backend",
    "precision",
    "device",
)
"""What a report says of where a run trained."""
LABELS = ("model", "data", "pool", "head", "budget")
COLUMNS = {
    "classification": {
        "accuracy": ("test", "top1"),
        "shift_consistency": ("shift", "consistency"),
        "worst_shift_accuracy": ("shift", "worst_accuracy"),
        "step": ("cost", "step"),
    },
    "detection": {
        "map": ("test", "map"),
        "map50": ("test", "map50"),
        "box_error": ("test", "box_error"),
        "shift_error": ("test", "shift_error"),
        "step": ("cost", "step"),
    },
    "segmentation": {
        "miou": ("test", "miou"),
        "boundary_iou": ("test", "boundary_iou"),
        "step": ("cost", "step"),
    },
}
"""What `dvc metrics show` prints of a task's cells, what they are ranked by first."""
SCENES = 16
"""Pictures of several sizes that are looked at together."""
PROPOSALS = 64
"""Regions of a picture that a detector looks at."""
SHOWN = 6
"""Pictures with predictions in an evaluation."""


def evaluate(config: DictConfig) -> None:
    """Evaluate the runs of one cell, or of every cell in a folder of runs."""
    folder = Path(config.runs)
    cells = [folder / config.cell] if config.cell else sorted(each for each in folder.iterdir() if each.is_dir())
    for cell in cells:
        evaluate_cell(cell, seeds(cell, config.seeds), config, folder.parent / "evaluation" / cell.name)


def seeds(cell: Path, count: int | None) -> list[int]:
    """The seeds of a cell to look at: the first `count`, or all that its folder holds."""
    if count is not None:
        return list(range(count))
    numbers = (each.name.removeprefix("seed-") for each in cell.glob("seed-*"))
    found = sorted(int(number) for number in numbers if number.isdigit())
    if not found:
        raise ValueError(f"{cell} holds no runs (folders seed-<n>): give the folder that holds the cells' folders")
    return found


def evaluate_cell(cell: Path, chosen: Sequence[int], config: Mapping[str, Any], folder: Path) -> None:
    """Write <folder>/seed-<n>.json for each run, and <folder>.json, their means, which DVC shows."""
    trained = [Run(cell / f"seed-{seed}") for seed in chosen]
    measured = side_by_side(partial(evaluate_run, config=config), trained)
    spent = side_by_side(cost_run, trained, at_once=1)  # beside another run, a time would say nothing
    figures = [each | {"cost": cost} for each, cost in zip(measured, spent, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    for seed, each in zip(chosen, figures, strict=True):
        write_json(folder / f"seed-{seed}.json", each)
    means = summary(figures)
    write_json(folder.with_name(f"{cell.name}.json"), means)
    print(f"{cell.name}: " + ", ".join(f"{key} {value:.4g}" for key, value in means.items()))


def summary(figures: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The columns of `dvc metrics show`: means over the seeds, of those that were measured."""
    columns = {
        name: (section, key)
        for name, (section, key) in COLUMNS[figures[0]["task"]].items()
        if key in figures[0].get(section, {})
    }
    means = {name: statistics.fmean(each[section][key] for each in figures) for name, (section, key) in columns.items()}
    return {name: round(mean, 5) for name, mean in means.items()} | {"seeds": len(figures)}


def _ready(trained: Run) -> tuple[Store, torch.device, nn.Module, torch.autocast]:
    """A run's data and its network on the device at hand, with the arithmetic that it trained in."""
    store = data.prepare(trained.config["data"])
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return store, device, trained.model(store).to(device), precision(trained.environment["precision"], device.type)


def cost_run(trained: Run) -> dict[str, Any]:
    """What the network of one run costs."""
    store, device, model, arithmetic = _ready(trained)
    part = store.parts["test"]
    fit = trained.config["data"].get("fit")
    if isinstance(part, Scenes) and fit:
        images = squares(part.take(torch.arange(min(COST_IMAGES, len(part)))), "warp", _side(trained)).to(device)
    elif isinstance(part, Scenes):
        batch = batch_of(part.to(device), range(min(SCENES, len(part))), 255 * torch.tensor(store.mean))
        images = batch.images
        if trained.config["task"]["name"] == "detection":
            model = detection.Posed(model, detection.proposed(batch, PROPOSALS))
    else:
        images = part.images[:COST_IMAGES].to(device)
    operators = {slot.name: slot.layer for slot in models.slots(model, images[:1]) if slot.layer is not None}
    yardstick = models.build(YARDSTICK, shown(store.info, trained.config["data"])).to(device)
    with arithmetic:
        return asdict(cost(model, operators, images, yardstick))


def evaluate_run(trained: Run, config: Mapping[str, Any]) -> dict[str, Any]:
    """Every figure of one run but its cost, from its folder and its data; `config` as in conf/evaluate.yaml."""
    started = time.perf_counter()
    task, model = trained.config["task"]["name"], trained.config["model"]["name"]
    labels = [*LABELS, *(role for role in models.ROLES if models.takes(model, role))]
    store, *_ = ready = _ready(trained)
    figures = MEASURES[task](trained, config, *ready)
    return {
        "schema": SCHEMA,
        "task": task,
        "cell": trained.config["cell"],
        "seed": trained.config["seed"],
        "labels": {label: trained.config[label]["name"] for label in labels},
        "command": trained.environment["command"],
        "environment": {key: trained.environment[key] for key in ENVIRONMENT},
        "data": {**trained.environment["data"], "classes": store.classes},
        "validation": trained.metrics["validation"],
        **figures,
        "duration": {
            "train_s": trained.environment["seconds"],
            "evaluate_s": round(time.perf_counter() - started, 3),
        },
        "history": trained.history,
        "learned": trained.learned,
    }


def evaluate_detector(
    trained: Run,
    config: Mapping[str, Any],
    store: Store,
    device: torch.device,
    model: nn.Module,
    arithmetic: torch.autocast,
) -> dict[str, Any]:
    """What a detector finds in the test pictures, what it costs it when boxes move, and some pictures to look at."""
    scenes, fill = store.scenes("test").to(device), 255 * torch.tensor(store.mean)
    network = model.get_submodule("network")
    assert isinstance(network, models.detection.FastRcnn)
    with arithmetic:
        figures = detection.detection(model, scenes, fill, PROPOSALS, network.stride, SCENES)
        batch = batch_of(scenes, range(min(SHOWN, len(scenes))), fill)
        found = detection.find(model, batch, detection.proposed(batch, PROPOSALS))
    pictures = {
        index: _data_uri(detection.drawn(scenes.image(index), each, scenes.objects(index), store.classes))
        for index, each in zip(batch.indices, found, strict=True)
    }
    return {**figures, "pictures": pictures}


def evaluate_classifier(
    trained: Run,
    config: Mapping[str, Any],
    store: Store,
    device: torch.device,
    model: nn.Module,
    arithmetic: torch.autocast,
) -> dict[str, Any]:
    """How a classifier does on the test pictures as they are, moved and spoilt; of several sizes, by their sizes."""
    if isinstance(store.parts["test"], Scenes):
        fit, head = trained.config["data"]["fit"], trained.config["head"]["name"]
        any_size = fit == "full" and head != "flatten"
        with arithmetic:
            return sized(model, store.scenes("test").to(device), fit, _side(trained), BATCH, any_size)
    images, labels = store.test.images.to(device), store.test.labels.to(device)
    with arithmetic:
        logits = _logits(model, images)
    wanted = config["shift"]
    if wanted["protocols"][:1] not in (["circular"], ["crop"]):
        raise ValueError(
            "shift.protocols must begin with circular or crop, which the report ranks and maps, "
            f"got {list(wanted['protocols'])}"
        )
    some, truth = images[: wanted["images"]], labels[: wanted["images"]]
    moving = {
        "radius": wanted["range"],
        "fill": 255 * torch.tensor(store.mean),
        "batch_size": BATCH,
        "autocast": arithmetic,
        "periodic": wanted["periodic"],
    }
    shifts = shift(model, some, truth, wanted["protocols"], **moving)
    first = next(iter(shifts))
    swapped = {
        name: shift(trained.swapped(store, name).to(device), some, truth, [first], **moving)[first]
        for name in config["swaps"]
        if name != trained.config["pool"]["name"]
    }
    network = model.get_submodule("network")
    layers = dict(network.named_children())
    steps = [(step, step) for step in range(1, wanted["range"] + 1)]
    with arithmetic:
        spoilt = robustness(model, images[: config["robustness"]], labels[: config["robustness"]], BATCH)
        extent = config["sizes"]["images"]
        other_sizes = at_sizes(model, images[:extent], labels[:extent], config["sizes"]["factors"], BATCH)
        test = {"images": len(labels), "loss": F.cross_entropy(logits, labels).item(), **classification(logits, labels)}
        train = _own_pictures(model, trained, store, config["train"], device)
        parts = {
            "passes": _passes(model, images, labels, config["passes"]),
            "activations": _activations(model, images[:MAP_IMAGES], labels[:MAP_IMAGES]),
        }
    shown = {*range(len(shifts[first].diagonal.labels)), *(flip.image for flip in shifts[first].flips)}
    return {
        "test": test,
        "train": train | {"gap": train["top1"] - test["top1"]},
        "confusion": confusion(logits, labels),
        "reliability": reliability(logits, labels),
        "shift": asdict(shifts.pop(first)),
        "shifts": {name: asdict(each) for name, each in shifts.items()},
        "swaps": {name: asdict(each) for name, each in swapped.items()},
        "layers": equivariance(model, layers, images[: config["layers"]], steps, BATCH),
        "geometry": {name: asdict(each) for name, each in geometry(network, layers, images[0].float()).items()},
        "map": _kept(model, images[: config["maps"]]),
        "robustness": {"images": config["robustness"], "accuracy": spoilt},
        "sizes": {"images": extent, "accuracy": [asdict(each) for each in other_sizes]},
        **parts,
        "pictures": {index: _data_uri(store.test.images[index]) for index in sorted(shown)},
    }


def _logits(model: nn.Module, images: Tensor) -> Tensor:
    with torch.inference_mode():
        return torch.cat([model(batch).float() for batch in images.split(BATCH)])


def _own_pictures(
    model: nn.Module, trained: Run, store: Store, count: int, device: torch.device
) -> dict[str, float | int]:
    """How well a run does on the first of the pictures that it trained on, which lie in no order."""
    chosen, _ = data.training_split(store, trained.config["data"]["validation"], trained.config["budget"]["images"])
    images, labels = store.train.images[chosen[:count]].to(device), store.train.labels[chosen[:count]].to(device)
    logits = _logits(model, images)
    loss = F.cross_entropy(logits, labels).item()
    return {"images": len(labels), "loss": loss, "top1": classification(logits, labels)["top1"]}


def _passes(model: nn.Module, images: Tensor, labels: Tensor, wanted: Mapping[str, int]) -> dict[str, Any] | None:
    """Accuracy averaged over test passes, and that of evaluation on the same pictures; None where nothing draws."""
    drawing = [layer for layer in model.modules() if isinstance(layer, RANDOM)]
    if not drawing:
        return None
    some, truth = images[: wanted["images"]], labels[: wanted["images"]]
    still = (_logits(model, some).argmax(1) == truth).float().mean().item()
    return {
        "images": len(truth),
        "evaluation": still,
        "accuracy": passes(model, drawing, some, truth, wanted["count"], BATCH),
    }


def _activations(model: nn.Module, images: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """The class activation maps of some pictures, for their labels; none where no map comes to the head."""
    head = next((slot.layer for slot in models.slots(model, images[:1]) if slot.takes == "global"), None)
    if head is None:
        return []
    maps = activation(model, head, images, labels).cpu()
    return [
        {"image": index, "label": label, "picture": _data_uri(_overlay(image, map))}
        for index, (image, map, label) in enumerate(zip(images.cpu(), maps, labels.tolist(), strict=True))
    ]


def _overlay(image: Tensor, map: Tensor) -> Tensor:
    """A stored picture in grey, uint8 (3, H, W); the more a place speaks for the class, the more it is orange."""
    share = F.interpolate(map.clamp(min=0)[None, None], image.shape[1:], mode="bilinear")[0, 0]
    share = OPACITY * share / share.max().clamp(min=1e-12)
    grey = image.float().mean(0)
    return torch.stack([grey + share * (level - grey) for level in ORANGE]).round().to(torch.uint8)


def evaluate_segmenter(
    trained: Run,
    config: Mapping[str, Any],
    store: Store,
    device: torch.device,
    model: nn.Module,
    arithmetic: torch.autocast,
) -> dict[str, Any]:
    """How well the pixels of the test pictures are named, and some pictures to look at."""
    scenes, fill = store.scenes("test").to(device), 255 * torch.tensor(store.mean)
    batch = batch_of(scenes, range(min(SHOWN, len(scenes))), fill)
    with arithmetic, torch.inference_mode():
        figures = segmented(model, scenes, fill, len(store.classes) + 1, SCENES)
        answers = model(batch.images).argmax(1)
    pictures = {
        index: _data_uri(painted(scenes.image(index), scenes.semantic(index), answer).cpu())
        for index, answer in zip(batch.indices, answers, strict=True)
    }
    return {**figures, "pictures": pictures}


MEASURES = {
    "classification": evaluate_classifier,
    "detection": evaluate_detector,
    "segmentation": evaluate_segmenter,
}
"""What measures the runs of each task."""


def _side(trained: Run) -> int:
    """The shorter side of the pictures that a run of pictures of several sizes is shown."""
    return max(trained.config["data"]["sides"])


def _kept(model: nn.Module, images: Tensor) -> dict[str, float] | None:
    """How much the first pooling keeps of its map; None where no layer pools by whole cells."""
    for slot in models.slots(model, images[:1]):
        if slot.takes == "local" and slot.layer is not None and cell_side(slot.before[2:], slot.after[2:]):
            before = maps_before(model, slot.layer, images)
            with torch.inference_mode():
                after = torch.cat([slot.layer(part.to(images.device)).cpu() for part in before.split(BATCH)])
            return {"kept": reconstruction(before, after)}
    return None


def _data_uri(image: Tensor) -> str:
    """A stored picture (C, H, W) as a PNG that an HTML page can hold."""
    file = io.BytesIO()
    Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy()).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


if __name__ == "__main__":
    run(evaluate, "evaluate")
