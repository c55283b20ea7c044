"""Features once a picture, and regions read off them, against the network run on every region: times of both."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from poolbench import pooling
from poolbench.models.detection import FastRcnn

CROPS = 100
"""Regions that are cut out and looked at together: more fit into no cache."""


REPEATS = 5
"""Times that the shorter way goes, for its median: the longer one is itself a sum over many regions."""


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
    """Both ways by the same network, for one picture (1, C, H, W) and the same boxes (K, 5), one after the other.

    R-CNN's regions are warped to `side` x `side`. Both give scores and offsets of the same shapes.

    >>> network = FastRcnn((1, 64, 64), 3).eval()
    >>> boxes = torch.tensor([[0.0, 4.0, 4.0, 40.0, 40.0]])
    >>> times = shared_against_separate(network, torch.rand(1, 1, 64, 64), boxes, 32)
    >>> min(times.shared, times.separate) > 0
    True
    """
    warp = pooling.create("crop_and_resize", 1, output_size=side)
    short = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        maps, seconds = _timed(network.features, picture)
        answers = network.read(maps, boxes)
        short.append((time.perf_counter() - started, seconds))
    shared, shared_features = map(statistics.median, zip(*short, strict=True))
    separate_features = 0.0
    each: list[tuple[Tensor, Tensor]] = []
    started = time.perf_counter()
    for some in boxes.split(CROPS):
        maps, seconds = _timed(network.features, warp(picture, some))
        separate_features += seconds
        each.append(network.read(maps, _whole(len(some), side)))
    separate = time.perf_counter() - started
    assert [answer.shape for answer in answers] == [torch.cat(parts).shape for parts in zip(*each, strict=True)]
    return Times(shared, separate, shared_features, separate_features)


def _timed(features: Callable[[Tensor], Tensor], images: Tensor) -> tuple[Tensor, float]:
    started = time.perf_counter()
    return features(images), time.perf_counter() - started


def _whole(count: int, side: int) -> Tensor:
    boxes = torch.tensor([0.0, 0.0, 0.0, side, side]).repeat(count, 1)
    boxes[:, 0] = torch.arange(count)
    return boxes
