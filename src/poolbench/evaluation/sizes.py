"""How well a classifier does on pictures of several sizes and proportions, and when all are shown larger or smaller."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.data.fit import by_shape
from poolbench.data.objects import Scenes
from poolbench.evaluation.answers import Model
from poolbench.evaluation.classification import classification

SCALES = {"half": 0.5, "three_quarters": 0.75, "five_quarters": 1.25, "half_more": 1.5}
"""Sizes at which pictures are shown besides the largest of training, in parts of it."""
OBLONG = 1.25
"""From where on the longer side of a picture makes it oblong, in parts of the shorter."""


def sized(model: Model, scenes: Scenes, fit: str, side: int, batch_size: int, any_size: bool) -> dict[str, Any]:
    """Accuracy of a model on scenes, each of the class of its largest object, brought to `side` as `fit` says.

    `size`: of the pictures of each third by area; `aspect`: of those nearly square, and of the oblong. `scale`: with
    all pictures brought to other sides, where the model takes `any_size`.
    """
    logits, labels, numbers = ask(model, scenes, fit, side, batch_size)
    hit = (logits.argmax(1) == labels).float()
    height, width = scenes.sizes[numbers].float().unbind(1)
    thirds = (height * width).argsort().argsort() * 3 // len(hit)
    oblong = torch.maximum(height, width) >= OBLONG * torch.minimum(height, width)
    test = {"images": len(hit), "loss": F.cross_entropy(logits, labels).item(), **classification(logits, labels)}
    return {
        "test": test,
        "size": {name: _mean(hit[thirds == third]) for third, name in enumerate(("small", "middle", "large"))},
        "aspect": {"square": _mean(hit[~oblong]), "oblong": _mean(hit[oblong])},
        "scale": _scales(model, scenes, fit, side, batch_size) if any_size else {},
    }


def _scales(model: Model, scenes: Scenes, fit: str, side: int, batch_size: int) -> Mapping[str, float]:
    found = {}
    for name, scale in SCALES.items():
        logits, labels, _ = ask(model, scenes, fit, round(scale * side), batch_size)
        found[name] = (logits.argmax(1) == labels).float().mean().item()
    return found


@torch.inference_mode()
def ask(model: Model, scenes: Scenes, fit: str, side: int, batch_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, classes), labels (N,) and numbers (N,) of the pictures that have an object."""
    logits, numbers = [], []
    for indices, images in by_shape(scenes, fit, side).values():
        numbers.append(indices)
        logits += [model(batch).float().cpu() for batch in images.split(batch_size)]
    order = torch.cat(numbers)
    return torch.cat(logits), scenes.subjects[order], order


def _mean(hit: Tensor) -> float | None:
    return hit.mean().item() if len(hit) else None
