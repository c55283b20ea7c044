"""A network ready to be trained: pictures as they are stored go in, and equal seeds give equal weights."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from poolbench.models.placed import Placed
from poolbench.models.registry import ROLES, create, task


class Prepared(nn.Sequential):
    """A network behind what prepares its pictures; what comes after them (boxes) reaches the network as it is."""

    normalise: nn.Module
    network: nn.Module

    def forward(self, images: Tensor, *given: Tensor) -> Any:
        return self.network(self.normalise(images), *given)


class Normalise(nn.Module):
    """Stored pictures uint8 (N, C, H, W) to float32, channels last, of mean 0 and deviation 1 over the training split.

    `mean` and `std`: one number a channel, where 0 is black and 1 is white.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", 255 * torch.tensor(mean)[:, None, None])
        self.register_buffer("std", 255 * torch.tensor(std)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return ((images - self.mean) / self.std).contiguous(memory_format=torch.channels_last)


def build(config: Mapping[str, Any], info: Mapping[str, Any]) -> nn.Module:
    """The network that a run's configuration describes, for the data set that `info` (a store's) describes.

    Of `config`, `model` and the operators of its slots count, each a `name` and options. Stored pictures go in; a
    classifier gives logits (N, classes), other tasks have a class more, the first, for the ground.
    """
    model = config["model"]
    shape = (info["channels"], info["height"], info["width"])
    classes = len(info["classes"]) + (task(model["name"]) != "classification")
    operators = {role: config[role] for role in ("pool", "head", *ROLES) if role in config}
    network = create(**model, **operators, shape=shape, classes=classes)
    parts = OrderedDict(normalise=Normalise(info["mean"], info["std"]), network=network)
    return Prepared(parts).to(memory_format=torch.channels_last)


def initialise(model: nn.Module, seed: int) -> None:
    """Draw the weights outside the operators put into slots anew, from `seed` and their layer's name alone.

    So networks that differ in one operator start from the same weights everywhere else, and their runs are paired.
    What no layer draws by itself (a class token, positions) is normal with deviation 0.02, unless it starts constant.
    """
    placed = {layer for slot in model.modules() if isinstance(slot, Placed) for layer in slot.modules()}
    for name, layer in model.named_modules():
        if layer in placed:
            continue
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]) >> 1)
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
            else:
                for _, parameter in sorted(layer.named_parameters(recurse=False)):
                    if parameter.numel() > 1 and (parameter != parameter.flatten()[0]).any():
                        parameter.normal_(std=0.02)
