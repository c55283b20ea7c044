import numpy as np
import pytest
import torch
import torch.nn.functional as F

from poolbench.data.objects import Thing, pack
from poolbench.evaluation.sizes import ask, sized

SIDES = [(32, 32), (32, 64), (64, 32), (64, 64), (96, 96), (96, 80)]


def picture(label, height, width):
    """Of grey 10 · label."""
    thing = Thing(label, (0, 0, 8, 8), np.ones((height, width), bool))
    return np.full((1, height, width), 10 * label, np.uint8), [thing]


SCENES = pack([picture(number, *size) for number, size in enumerate(SIDES)], channels=1)


def knowing(images):
    """Reads the label off the grey."""
    return F.one_hot((images.float().mean((1, 2, 3)) / 10).round().long(), 6).float()


def test_answers_keep_their_labels_and_numbers():
    logits, labels, numbers = ask(knowing, SCENES, "full", 32, 4)
    assert torch.equal(logits.argmax(1), labels)
    assert labels.tolist() == numbers.tolist()
    assert sorted(numbers.tolist()) == list(range(6))


def test_accuracy_by_size_and_aspect():
    """A model that is right on square pictures only."""

    def square(images):
        logits = knowing(images)
        return logits if images.shape[2] == images.shape[3] else logits.roll(1, 1)

    found = sized(square, SCENES, "full", 32, 4, any_size=True)
    assert found["test"]["images"] == 6
    assert found["test"]["top1"] == pytest.approx(3 / 6)
    assert found["aspect"] == {"square": pytest.approx(3 / 4), "oblong": 0}
    assert found["size"] == {"small": 0.5, "middle": 0.5, "large": 0.5}
    assert found["scale"].keys() == {"half", "three_quarters", "five_quarters", "half_more"}


def test_a_model_of_one_size_is_shown_that_alone():
    found = sized(knowing, SCENES, "warp", 32, 4, any_size=False)
    assert found["test"]["top1"] == 1
    assert found["scale"] == {}
