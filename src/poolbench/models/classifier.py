"""A network ready to be trained: pictures as they are stored go in, and equal seeds give equal weights."""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from poolbench import pooling
from poolbench.models.registry import create


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


def build(
    model: Mapping[str, Any], pool: Mapping[str, Any], head: Mapping[str, Any], info: Mapping[str, Any]
) -> nn.Module:
    """The classifier that a configuration describes, for the data set that `info` (a store's) describes.

    `model`, `pool` and `head` hold a `name` and options. Stored pictures go in, logits (N, classes) come out.
    """
    network = create(
        **model,
        pool=_operator("pool", pool, "local"),
        head=_operator("head", head, "global"),
        shape=(info["channels"], info["height"], info["width"]),
        classes=len(info["classes"]),
    )
    parts = OrderedDict(normalise=Normalise(info["mean"], info["std"]), network=network)
    return nn.Sequential(parts).to(memory_format=torch.channels_last)


def slots(model: nn.Module) -> dict[str, nn.Module]:
    """The operator in each slot of a classifier, by the slot's name."""
    return vars(model.get_submodule("network"))["slots"]


def _operator(slot: str, chosen: Mapping[str, Any], kind: pooling.Kind) -> partial[nn.Module]:
    name = chosen["name"]
    if pooling.spec(name).kind != kind and "." not in name:
        raise ValueError(
            f"{slot}={name}: a {slot} slot takes a {kind} operator and this one is {pooling.spec(name).kind}; "
            f"choose from {', '.join(pooling.names(kind))}"
        )
    return partial(pooling.create, **chosen)


def initialise(model: nn.Module, seed: int) -> None:
    """Draw the weights of every layer outside the slots anew, from `seed` and the layer's name alone.

    So networks that differ in one operator start from the same weights everywhere else, and their runs are paired.
    """
    placed = {layer for operator in slots(model).values() for layer in operator.modules()}
    for name, layer in model.named_modules():
        if hasattr(layer, "reset_parameters") and layer not in placed:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(int.from_bytes(hashlib.sha256(f"{seed} {name}".encode()).digest()[:8]) >> 1)
                layer.reset_parameters()
