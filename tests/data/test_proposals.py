import pytest
import torch
from torchvision.ops import box_iou

from poolbench.data.objects import Objects
from poolbench.data.proposals import OVERLAP, decode, encode, match, numbered, propose, within

SIZE = torch.tensor([60, 90])


def objects(boxes, labels=None, crowd=None):
    count = len(boxes)
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).view(-1, 4),
        torch.tensor(labels if labels is not None else range(count), dtype=torch.int64),
        torch.tensor(crowd or [False] * count, dtype=torch.bool),
    )


TWO = objects([[5, 5, 25, 35], [40, 20, 80, 40]], [3, 1])


def test_half_of_the_proposals_are_about_objects_and_all_are_in_the_picture():
    boxes = propose(TWO, SIZE, 400, torch.Generator().manual_seed(0))
    assert boxes.min() >= 0
    assert (boxes[:, 2] <= 90).all()
    assert (boxes[:, 3] <= 60).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    overlap = box_iou(boxes, TWO.boxes).amax(1)
    assert overlap[:200].min() > 0.2
    assert (overlap[:200] >= OVERLAP).float().mean() > 0.5
    assert (overlap[200:] < OVERLAP).float().mean() > 0.8


def test_the_generator_decides_and_crowds_draw_no_proposals():
    draw = [propose(TWO, SIZE, 10, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draw[0], draw[1])
    assert not torch.equal(draw[0], draw[2])
    crowd = objects([[0, 0, 90, 60]], [2], [True])
    alone = propose(objects([]), SIZE, 10, torch.Generator().manual_seed(3))
    assert torch.equal(propose(crowd, SIZE, 10, torch.Generator().manual_seed(3)), alone)


def test_a_box_takes_the_class_of_the_object_that_it_overlaps_most():
    boxes = torch.tensor([[6.0, 5, 25, 35], [5, 5, 25, 16], [40, 20, 80, 41], [82, 50, 90, 60]])
    labels, true = match(boxes, TWO)
    assert labels.tolist() == [4, 0, 2, 0]
    assert torch.equal(true[[0, 2]], TWO.boxes)


def test_what_lies_in_a_crowd_does_not_count_unless_it_is_an_object():
    mixed = objects([[5, 5, 25, 35], [0, 0, 45, 60]], [0, 0], [False, True])
    labels, _ = match(torch.tensor([[5.0, 5, 25, 35], [20, 40, 40, 60], [60, 40, 80, 60]]), mixed)
    assert labels.tolist() == [1, -1, 0]
    assert within(torch.tensor([[40.0, 0, 50, 10]]), mixed.boxes[1:]).tolist() == [0.5]


def test_offsets_are_undone():
    random = torch.Generator().manual_seed(0)
    boxes, true = (propose(TWO, SIZE, 50, random) for _ in range(2))
    torch.testing.assert_close(decode(boxes, encode(boxes, true)), true, atol=1e-3, rtol=1e-4)
    assert encode(boxes, boxes).abs().max() == 0


@pytest.mark.parametrize("counts", [[2, 0, 3], [0, 0], [1]])
def test_boxes_are_numbered_by_their_picture(counts):
    numbers = numbered([torch.ones(count, 4) for count in counts])[:, 0]
    assert numbers.tolist() == [picture for picture, count in enumerate(counts) for _ in range(count)]
