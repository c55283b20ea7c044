"""How well a network of regions finds objects, and what the quantisation of its region operator costs."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from poolbench.data import Scenes
from poolbench.data.feed import SceneBatch, batch_of
from poolbench.data.objects import Objects
from poolbench.data.proposals import chosen, decode, match, numbered, propose

Regions = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Pictures (N, C, H, W) and boxes (K, 5) to scores (K, classes), the first the ground's, and offsets."""

LEAST_SCORE, SAME, MOST = 0.05, 0.5, 100
"""Answers below this score are none; those that overlap so much are one; a picture has so many at most."""
STEPS = 8
"""Shifts to a pixel of the map."""


@dataclass(frozen=True)
class Found:
    """What a network says is in a picture: boxes (K, 4), scores (K,) and classes (K,), the best first."""

    boxes: Tensor
    scores: Tensor
    labels: Tensor


def batches(scenes: Scenes, fill: Tensor, batch_size: int) -> Iterator[SceneBatch]:
    """The pictures in order, some at a time."""
    for indices in torch.arange(len(scenes)).split(batch_size):
        yield batch_of(scenes, indices.tolist(), fill)


def proposed(batch: SceneBatch, count: int) -> list[Tensor]:
    """The proposals of each picture: the same whatever looks at them, since its number is their seed."""
    return [
        propose(objects, size, count, torch.Generator().manual_seed(index)).to(batch.images.device)
        for objects, size, index in zip(batch.objects, batch.sizes, batch.indices, strict=True)
    ]


@torch.inference_mode()
def find(model: Regions, batch: SceneBatch, proposals: Sequence[Tensor]) -> list[Found]:
    """What a network finds in each picture of a batch, by class and with duplicates left out."""
    scores, offsets = (each.float() for each in model(batch.images, numbered(proposals)))
    counts = [len(each) for each in proposals]
    parts = zip(proposals, scores.softmax(1).split(counts), offsets.split(counts), batch.sizes, strict=True)
    return [_picture(*part) for part in parts]


def _picture(boxes: Tensor, chances: Tensor, offsets: Tensor, size: Tensor) -> Found:
    from torchvision.ops import batched_nms

    place, label = (chances[:, 1:] >= LEAST_SCORE).nonzero().unbind(1)
    height, width = size.tolist()
    corrected = decode(boxes[place], offsets[place, label])
    corrected = corrected.clamp(min=0).minimum(corrected.new_tensor([width, height, width, height]))
    scores = chances[place, label + 1]
    kept = batched_nms(corrected, scores, label, SAME)[:MOST]
    return Found(corrected[kept], scores[kept], label[kept])


class Posed(nn.Module):
    """A network of regions with its proposals, as one that takes pictures alone: what costs are measured of.

    Pictures (N, C, H, W), of as many as there are proposals or fewer, to scores and offsets side by side, (K, ...).
    """

    def __init__(self, model: nn.Module, proposals: Sequence[Tensor]) -> None:
        super().__init__()
        self.model, self.proposals = model, proposals

    def forward(self, images: Tensor) -> Tensor:
        scores, offsets = self.model(images, numbered(self.proposals[: len(images)]))
        return torch.cat([scores, offsets.flatten(1)], 1)


def drawn(image: Tensor, found: Found, true: Objects, classes: Sequence[str]) -> Tensor:
    """A picture (C, H, W) in colour with what is there in white, and what was found with even odds in red, by name."""
    from torchvision.utils import draw_bounding_boxes

    shown = image.cpu().expand(3, -1, -1)
    sure = found.scores >= 0.5
    names = [classes[label] for label in found.labels[sure].tolist()]
    for boxes, texts, color in ((true.boxes, None, "white"), (found.boxes[sure], names, "red")):
        if len(boxes):
            shown = draw_bounding_boxes(shown, boxes.cpu(), texts, color)
    return shown


def average_precision(found: Sequence[Found], true: Sequence[Objects]) -> dict[str, float]:
    """COCO's mean average precision: `map` over overlaps of .5 to .95, `map50` and `map75` at one; crowds ignored.

    A figure that no object decides is 0.
    """
    from torchmetrics.detection import MeanAveragePrecision  # its import takes longer than what a stage else imports

    metric = MeanAveragePrecision(backend="pycocotools")
    metric.update(
        [{"boxes": each.boxes, "scores": each.scores, "labels": each.labels} for each in found],
        [{"boxes": each.boxes, "labels": each.labels, "iscrowd": each.crowd.long()} for each in true],
    )
    values = metric.compute()
    return {
        name: max(values[key].item(), 0.0) for name, key in (("map", "map"), ("map50", "map_50"), ("map75", "map_75"))
    }


@torch.inference_mode()
def proposals(model: Regions, batch: SceneBatch, boxes: Sequence[Tensor]) -> dict[str, Tensor]:
    """Of each proposal: whether its class is right; of those of an object: that, and the mean error of the corners."""
    scores, offsets = (each.float() for each in model(batch.images, numbered(boxes)))
    pairs = [match(each, objects) for each, objects in zip(boxes, batch.objects, strict=True)]
    labels, true = (torch.cat(each) for each in zip(*pairs, strict=True))
    own = labels > 0
    corrected = decode(torch.cat(list(boxes))[own], chosen(offsets[own], labels[own]))
    return {
        "hit": (scores.argmax(1) == labels)[labels >= 0].float(),
        "hit_object": (scores.argmax(1) == labels)[own].float(),
        "error": (corrected - true[own]).abs().mean(1),
    }


@dataclass(frozen=True)
class Displaced:
    """What comes of true boxes that lie `shift` pixels of the picture off, right and down."""

    shift: float
    error: float
    """The mean distance of the corrected box's centre from the true one, along an axis, in pixels."""
    accuracy: float
    """The share whose class is right."""
    drift: float
    """The mean change of a score by that shift."""


@torch.inference_mode()
def displaced(model: Regions, seen: Sequence[SceneBatch], stride: int) -> list[Displaced]:
    """Shifts of the true boxes by 0 to one pixel of the map, of `stride` pixels of the picture.

    An operator that rounds boxes to the map cannot tell most of them from none.
    """
    shifts = [stride * step / STEPS for step in range(STEPS + 1)]
    parts: dict[float, list[tuple[Tensor, Tensor, Tensor]]] = {shift: [] for shift in shifts}
    for batch in seen:
        true = [objects.boxes[~objects.crowd] for objects in batch.objects]
        labels = torch.cat([objects.labels[~objects.crowd] for objects in batch.objects])
        boxes = numbered(true)
        plain = None
        for shift in shifts:
            moved = boxes + boxes.new_tensor([0, shift, shift, shift, shift])
            scores, offsets = (each.float() for each in model(batch.images, moved))
            plain = scores if plain is None else plain
            corrected = decode(moved[:, 1:], chosen(offsets, labels + 1))
            error = ((corrected - boxes[:, 1:]).unflatten(1, (2, 2)).mean(1)).abs().mean(1)
            parts[shift].append((error, (scores.argmax(1) == labels + 1).float(), (scores - plain).abs().mean(1)))
    return [
        Displaced(shift, *(torch.cat(each).mean().item() for each in zip(*rows, strict=True)))
        for shift, rows in parts.items()
    ]


def detection(model: Regions, scenes: Scenes, fill: Tensor, count: int, stride: int, batch_size: int) -> dict[str, Any]:
    """Every figure of a network of regions on `scenes`, with `count` proposals a picture.

    `test`: precision by COCO's rules; the accuracy of the proposals' classes, and of those of an object alone; the
    error of their corrected boxes, in pixels; and that of true boxes displaced by up to half a pixel of the map.
    """
    seen = list(batches(scenes, fill, batch_size))
    given = [proposed(batch, count) for batch in seen]
    found = [each for batch, boxes in zip(seen, given, strict=True) for each in find(model, batch, boxes)]
    rows = [proposals(model, batch, boxes) for batch, boxes in zip(seen, given, strict=True)]
    means = {name: torch.cat([row[name] for row in rows]).mean().item() for name in rows[0]}
    moved = displaced(model, seen, stride)
    return {
        "test": {
            "images": len(scenes),
            **average_precision(found, [scenes.objects(index) for index in range(len(scenes))]),
            "top1": means["hit"],
            "object_accuracy": means["hit_object"],
            "box_error": means["error"],
            "shift_error": statistics.fmean(each.error for each in moved if each.shift <= stride / 2),
        },
        "displaced": [asdict(each) for each in moved],
    }
