import numpy as np
import pytest
import torch

from poolbench.data.feed import batch_of
from poolbench.data.objects import Objects, Thing, pack
from poolbench.data.proposals import encode, match
from poolbench.evaluation import detection
from poolbench.evaluation.detection import Found, average_precision, displaced, find, proposed

FILL = torch.tensor([100.0])


def boxed(x1, y1, x2, y2):
    mask = np.zeros((48, 64), bool)
    mask[y1:y2, x1:x2] = True
    return mask


@pytest.fixture
def scenes():
    """Two pictures with objects, one without."""
    blank = np.full((1, 48, 64), 100, np.uint8)
    places = [(0, (4, 4, 20, 30)), (2, (30, 10, 60, 40)), (1, (10, 20, 40, 44))]
    things = [Thing(label, (x1, y1, x2, y2), boxed(x1, y1, x2, y2)) for label, (x1, y1, x2, y2) in places]
    return pack([(blank, things[:2]), (blank, []), (blank, things[2:])], channels=1)


class Knowing:
    """Answers to every box what is true of it, or with the box as it is where it is not to correct."""

    def __init__(self, batch, corrects=True):
        self.batch, self.corrects = batch, corrects

    def __call__(self, images, boxes):
        scores, offsets = torch.zeros(len(boxes), 4), torch.zeros(len(boxes), 3, 4)
        for place, box in enumerate(boxes):
            labels, true = match(box[None, 1:], self.batch.objects[int(box[0])])
            scores[place, labels] = 20.0
            if self.corrects and labels > 0:
                offsets[place] = encode(box[None, 1:], true)
        return scores, offsets


def test_one_who_knows_everything_has_full_marks(scenes):
    batch = batch_of(scenes, range(3), FILL)
    figures = detection.detection(Knowing(batch), scenes, FILL, 32, 8, batch_size=3)
    test = figures["test"]
    assert (test["images"], test["map"], test["map50"], test["top1"]) == (3, 1.0, 1.0, 1.0)
    assert test["box_error"] == pytest.approx(0, abs=1e-4)


def test_one_who_corrects_no_box_errs_by_the_shift(scenes):
    batch = batch_of(scenes, range(3), FILL)
    moved = displaced(Knowing(batch, corrects=False), [batch], stride=8)
    assert [each.shift for each in moved] == list(range(9))
    assert [each.error for each in moved] == pytest.approx([each.shift for each in moved], abs=1e-4)
    assert moved[0].accuracy == 1.0
    assert moved[0].drift == 0.0


def test_duplicates_and_doubtful_answers_are_left_out(scenes):
    batch = batch_of(scenes, [0], FILL)
    box = torch.tensor([[4.0, 4, 20, 30]])
    given = [torch.cat([box, box + 1, box + 30])]

    def model(images, boxes):
        scores = torch.tensor([[0.0, 5, 0, 0], [0.0, 4, 0, 0], [9.0, 0, 0, 0]])
        return scores, torch.zeros(3, 3, 4)

    (found,) = find(model, batch, given)
    assert found.labels.tolist() == [0]
    assert found.boxes.tolist() == box.tolist()


def test_average_precision_by_hand():
    """Of two objects one is found exactly and one by half; between them in score stands a wrong answer."""
    true = Objects(torch.tensor([[0.0, 0, 10, 10], [20, 0, 30, 10]]), torch.zeros(2).long(), torch.zeros(2).bool())
    found = Found(
        torch.tensor([[0.0, 0, 10, 10], [50, 50, 60, 60], [20, 0, 30, 6]]),
        torch.tensor([0.9, 0.8, 0.7]),
        torch.zeros(3).long(),
    )
    figures = average_precision([found], [true])
    # Recall .5 at precision 1, recall 1 at precision 2/3: 51 and 50 of COCO's 101 points.
    assert figures["map50"] == pytest.approx((51 + 50 * 2 / 3) / 101, abs=1e-4)
    assert figures["map75"] == pytest.approx(51 / 101, abs=1e-4)


def test_an_answer_in_a_crowd_is_no_mistake():
    true = Objects(
        torch.tensor([[0.0, 0, 10, 10], [20, 0, 60, 40]]), torch.zeros(2).long(), torch.tensor([False, True])
    )
    found = Found(torch.tensor([[25.0, 5, 35, 15], [0.0, 0, 10, 10]]), torch.tensor([0.9, 0.8]), torch.zeros(2).long())
    assert average_precision([found], [true])["map"] == pytest.approx(1.0)


def test_proposals_are_a_pictures_own(scenes):
    whole, alone = (proposed(batch_of(scenes, chosen, FILL), 10) for chosen in (range(3), [2]))
    assert torch.equal(whole[2], alone[0])
    assert not torch.equal(whole[0], whole[1])


def test_pictures_are_drawn_with_what_is_found_and_without(scenes):
    found = Found(torch.tensor([[1.0, 1, 9, 9]]), torch.tensor([0.9]), torch.tensor([1]))
    nothing = Found(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0).long())
    shown = detection.drawn(scenes.image(1), found, scenes.objects(1), ["a", "b", "c"])
    assert shown.shape == (3, 48, 64)
    assert shown[0, 1, 5] == 255
    assert shown[1, 1, 5] == 0
    assert torch.equal(
        detection.drawn(scenes.image(1), nothing, scenes.objects(1), list("abc")), scenes.image(1).expand(3, -1, -1)
    )
