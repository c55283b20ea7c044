import pytest
import torch
from torch import nn

from poolbench import models
from poolbench.data.resize import resized
from poolbench.evaluation import at_sizes


def pictures(count=40, side=16):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 1, side, side), generator=generator).to(torch.uint8)
    return images, torch.randint(3, (count,), generator=generator)


def test_accuracy_is_that_of_the_resized_pictures():
    images, labels = pictures()
    network = models.create("cnn", (1, 16, 16), 3, widths=[4, 8]).eval()

    def model(batch):
        return network(batch.float() / 255)

    small, same, large = at_sizes(model, images, labels, [0.5, 1, 1.6], batch_size=7)
    assert [(each.height, each.width) for each in (small, same, large)] == [(8, 8), (16, 16), (26, 26)]
    for each in (small, same, large):
        hit = model(resized(images, each.height, each.width)).argmax(1) == labels
        assert each.accuracy is not None
        value, low, high = each.accuracy
        assert low <= value <= high
        assert abs(value - hit.float().mean().item()) < 1e-6
        assert each.refused is None


def test_a_head_of_fixed_size_refuses_and_says_why():
    images, labels = pictures()
    network = models.create("cnn", (1, 16, 16), 3, head="flatten", widths=[4, 8]).eval()
    other, own = at_sizes(lambda batch: network(batch.float()), images, labels, [2, 1])
    assert other.accuracy is None
    assert "mat1 and mat2 shapes cannot be multiplied" in str(other.refused)
    assert own.accuracy is not None


def test_a_vision_transformer_refuses_what_its_patches_do_not_tile():
    images, labels = pictures()
    network = models.create("vit_mini", (1, 16, 16), 3).eval()
    odd, twice = at_sizes(lambda batch: network(batch.float()), images, labels, [1.1, 2])
    assert odd.refused == "pictures of 18 x 18 pixels do not divide into patches of 4"
    assert twice.accuracy is not None


def test_pictures_resized_keep_their_mean_and_their_range():
    images, _ = pictures(side=16)
    for side in (4, 8, 24, 32):
        made = resized(images, side, side)
        assert made.dtype == torch.uint8
        assert made.shape == (40, 1, side, side)
        assert abs(made.float().mean() - images.float().mean()) < 3
    assert torch.equal(resized(images, 16, 16), images)
    assert resized(torch.full((1, 1, 4, 4), 255, dtype=torch.uint8), 7, 7).unique().tolist() == [255]


def test_a_fault_that_is_no_refusal_is_not_taken_for_one():
    class Broken(nn.Module):
        def forward(self, x):
            return x.no_such_method()

    images, labels = pictures(2)
    with pytest.raises(AttributeError, match="no_such_method"):
        at_sizes(Broken(), images, labels, [1])
