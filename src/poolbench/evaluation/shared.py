"""Features once a picture, and regions read off them, against the network run on every region: times of both."""

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from poolbench import pooling
from poolbench.models.detection import FastRcnn, whole

CROPS = 100
"""Regions that are cut out and looked at together: more fit into no cache."""


REPEATS = 5
"""Times that the shorter way goes, for its mean: the longer one is itself a sum over many regions."""


@dataclass(frozen=True)
class Times:
    """Seconds for one picture with all its regions."""

    shared: float
    """SPP-net's and Fast R-CNN's way: the map once, a grid a region, the answers."""
    separate: float
    """R-CNN's way: every region cut out, warped to one size and sent through the network."""
    shared_features: float
    """Of `shared`, the map alone."""
    separate_features: float
    """Of `separate`, the maps of the regions alone."""


@torch.inference_mode()
def shared_against_separate(network: FastRcnn, picture: Tensor, boxes: Tensor, side: int) -> Times:
    """Both ways by the same network, for one picture (1, C, H, W) and the same boxes (K, 5).

    The shorter way goes several times in between, so that what else the machine does slows down both alike.
    R-CNN's regions are warped to `side` x `side`. Both ways give scores and offsets of the same shapes.

    >>> network = FastRcnn((1, 64, 64), 3).eval()
    >>> boxes = torch.tensor([[0.0, 4.0, 4.0, 40.0, 40.0]])
    >>> times = shared_against_separate(network, torch.rand(1, 1, 64, 64), boxes, 32)
    >>> min(times.shared, times.separate) > 0
    True
    """
    warp = pooling.create("crop_and_resize", 1, output_size=side)
    some = boxes.split(CROPS)
    turns = {round(turn * len(some) / REPEATS) for turn in range(REPEATS)}
    shared, separate = [], []
    each: list[tuple[Tensor, Tensor]] = []
    for turn, regions in enumerate(some):
        if turn in turns:
            answers, *seconds = _timed(network, picture, boxes)
            shared.append(seconds)
        answer, *seconds = _timed(network, picture, regions, warp)
        each.append(answer)
        separate.append(seconds)
    assert [answer.shape for answer in answers] == [torch.cat(parts).shape for parts in zip(*each, strict=True)]
    once, maps_once = map(statistics.fmean, zip(*shared, strict=True))
    every, maps_every = map(sum, zip(*separate, strict=True))
    return Times(once, every, maps_once, maps_every)


def _timed(
    network: FastRcnn, picture: Tensor, boxes: Tensor, warp: nn.Module | None = None
) -> tuple[tuple[Tensor, Tensor], float, float]:
    """The answers to regions of a picture, the seconds they took in all, and those of the maps alone.

    With a `warp` each region is a picture of its own.
    """
    started = time.perf_counter()
    images = picture if warp is None else warp(picture, boxes)
    ready = time.perf_counter()
    maps = network.features(images)
    seconds = time.perf_counter() - ready
    answers = network.read(maps, boxes if warp is None else whole(images))
    return answers, time.perf_counter() - started, seconds
