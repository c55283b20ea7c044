"""Region proposals without a network that proposes: true boxes moved and resized, and boxes anywhere."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.data.objects import Objects

JITTER = 0.3
"""How far a proposal lies from a true box: its centre by that share of a side, its sides by that power of e."""
SIDES = (0.1, 0.6)
"""The sides of boxes anywhere, as shares of the picture's."""
OVERLAP = 0.5
"""Intersection over union from which on a proposal is of an object; Fast R-CNN's."""
SPREAD = (0.1, 0.1, 0.2, 0.2)
"""What offsets are divided by, so that they vary by about 1; Fast R-CNN's."""


def propose(objects: Objects, size: Tensor, count: int, random: torch.Generator) -> Tensor:
    """`count` boxes (count, 4) in a picture of this size (2,): half about its objects, the rest anywhere.

    Without objects all are anywhere.

    >>> nothing = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.bool))
    >>> propose(nothing, torch.tensor([32, 64]), 5, torch.Generator()).shape
    torch.Size([5, 4])
    """
    true = objects.boxes[~objects.crowd].cpu()
    height, width = size.tolist()
    whole = torch.tensor([width, height], dtype=torch.float32)
    near = true[torch.arange(count // 2) % len(true)] if len(true) else true
    sides = (near[:, 2:] - near[:, :2]) * (JITTER * (2 * torch.rand(len(near), 2, generator=random) - 1)).exp()
    shift = JITTER * (2 * torch.rand(len(near), 2, generator=random) - 1) * (near[:, 2:] - near[:, :2])
    centre = (near[:, :2] + near[:, 2:]) / 2 + shift
    far = count - len(near)
    low, high = SIDES
    anywhere = whole * (low + (high - low) * torch.rand(far, 2, generator=random))
    sides = torch.cat([sides, anywhere])
    centre = torch.cat([centre, anywhere / 2 + (whole - anywhere) * torch.rand(far, 2, generator=random)])
    return torch.cat([centre - sides / 2, centre + sides / 2], 1).clamp(min=0).minimum(whole.repeat(2))


def match(boxes: Tensor, objects: Objects) -> tuple[Tensor, Tensor]:
    """The class of each box (K, 4), int64 (K,), and the true box that it is of (K, 4).

    0 is the ground, 1 the first class: that of the object which it overlaps most and by `OVERLAP` at least. -1 is what
    neither is trained on nor counted: a box that lies mostly in a crowd.
    """
    from torchvision.ops import box_iou  # takes seconds to import, which only detection needs

    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device)
    crowd, true, classes = objects.boxes[objects.crowd], objects.boxes[~objects.crowd], objects.labels[~objects.crowd]
    labels[within(boxes, crowd) >= OVERLAP] = -1
    if not len(true):
        return labels, boxes
    overlap, chosen = box_iou(boxes, true).max(1)
    return torch.where(overlap >= OVERLAP, classes[chosen] + 1, labels), true[chosen]


def within(boxes: Tensor, others: Tensor) -> Tensor:
    """The largest share of each box (K, 4) that lies within one of the others (M, 4): (K,)."""
    if not len(others):
        return boxes.new_zeros(len(boxes))
    low, high = torch.maximum(boxes[:, None, :2], others[:, :2]), torch.minimum(boxes[:, None, 2:], others[:, 2:])
    return ((high - low).clamp(min=0).prod(2) / (boxes[:, None, 2:] - boxes[:, None, :2]).prod(2)).amax(1)


def encode(boxes: Tensor, true: Tensor) -> Tensor:
    """The offsets (K, 4) that make `boxes` the true ones: of the centre in sides, of the sides in powers of e."""
    (centre, sides), (true_centre, true_sides) = _centred(boxes), _centred(true)
    offsets = torch.cat([(true_centre - centre) / sides, (true_sides / sides).log()], 1)
    return offsets / offsets.new_tensor(SPREAD)


def decode(boxes: Tensor, offsets: Tensor) -> Tensor:
    """The boxes (K, 4) that offsets (K, 4) make of `boxes`; the inverse of `encode`.

    >>> box = torch.tensor([[2.0, 3.0, 6.0, 11.0]])
    >>> decode(box, encode(box, box + 1)).tolist()
    [[3.0, 4.0, 7.0, 12.0]]
    """
    centre, sides = _centred(boxes)
    moved, resized = (offsets * offsets.new_tensor(SPREAD)).split(2, 1)
    centre, sides = centre + moved * sides, sides * resized.clamp(-4, 4).exp()
    return torch.cat([centre - sides / 2, centre + sides / 2], 1)


def _centred(boxes: Tensor) -> tuple[Tensor, Tensor]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]).clamp(min=1e-3)


def numbered(boxes: Sequence[Tensor]) -> Tensor:
    """The boxes of each picture (K, 4) with the picture's number before them, all in one table (K, 5).

    >>> numbered([torch.zeros(1, 4), torch.ones(2, 4)])[:, 0].tolist()
    [0.0, 1.0, 1.0]
    """
    return torch.cat([F.pad(each, (1, 0), value=float(number)) for number, each in enumerate(boxes)])


def chosen(offsets: Tensor, labels: Tensor) -> Tensor:
    """The offsets (K, 4) of each box's own class, of those of all classes (K, classes, 4); labels from 1."""
    return offsets[torch.arange(len(labels), device=labels.device), labels - 1]
