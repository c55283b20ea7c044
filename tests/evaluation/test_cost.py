import time
import weakref
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from poolbench import models
from poolbench.evaluation.cost import MultiplyAdds, cost


def yardstick(channels: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.Flatten())


def test_counts_of_a_network_that_can_be_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 10)
    )
    found = cost(network, {"pool": network[1]}, torch.zeros(2, 3, 8, 8), yardstick(3))
    assert found.parameters == 8 * 27 + 128 * 10 + 10
    assert found.multiply_adds == 8 * 8 * 8 * 27 + 128 * 10
    kept = 8 * 8 * 8 * 4 + 8 * 4 * 4 * 8  # max pooling keeps its input and an index an output
    assert found.bytes_saved == kept
    assert 0 < found.forward < found.step
    assert 0 < found.pool_step < found.step
    assert found.yardstick_ms > 0


def test_what_was_kept_for_the_backward_pass_is_let_go_of():
    made = []

    class Exponential(nn.Module):
        """Keeps its output."""

        def forward(self, x):
            y = x.exp()
            made.append(weakref.ref(y))
            return y

    network = nn.Sequential(Exponential(), nn.Flatten(), nn.Linear(48, 2))
    cost(network, {"pool": network[0]}, torch.zeros(2, 3, 4, 4), yardstick(3))
    assert made
    assert not any(output() is not None for output in made)


def test_a_machine_that_is_slower_in_some_turns_changes_no_multiple(monkeypatch):
    slowness = (9.0, 1.0, 4.0, 2.0, 8.0, 3.0, 1.0, 4.0, 2.0, 8.0)  # of a turn; the first is left out
    clock = accumulate(second for slow in slowness for own in (2.0, 1.0, 6.0, 0.5) for second in (0.0, slow * own))
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    found = cost(nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten()), {}, torch.zeros(4, 1, 8, 8), yardstick(1))
    assert (found.forward, found.step, found.pool_step) == (0.5, 3, 0.25)
    assert found.yardstick_ms == 1000 * 1000 * 2 * 3 / 4  # the middle turn, of four pictures


@pytest.mark.parametrize(
    ("name", "pool", "slots"),
    [
        ("lenet5", "original", 3),
        ("resnet_mini", "original", 6),
        ("resnet_mini", "lps", 4),  # two shortcuts follow the choice of their branch
        ("mobilenet_v2_mini", "blur", 4),
        ("densenet_mini", "max", 4),
        ("vit_mini", "original", 1),
        ("swin_mini", "patch_merging_v2", 2),
    ],
)
def test_costs_of_networks(name, pool, slots):
    network, images = models.create(name, (1, 28, 28), 10, pool=pool), torch.rand(4, 1, 28, 28)
    operators = {slot.name: slot.layer for slot in models.slots(network, images[:1]) if slot.layer is not None}
    found = cost(network, operators, images, yardstick(1))
    assert len(operators) == slots
    assert found.multiply_adds > 400_000
    assert found.pool_step > 0


@pytest.mark.parametrize("name", ["cnn", "resnet_mini", "mobilenet_v1_mini", "vit_mini", "swin_mini"])
def test_multiply_adds_are_half_of_what_torch_counts(name):
    network = models.create(name, (1, 28, 28), 10).eval()
    images = torch.zeros(2, 1, 28, 28)
    with torch.no_grad(), MultiplyAdds() as ours, FlopCounterMode(display=False) as theirs:
        network(images)
    assert 2 * ours.total == theirs.get_total_flops()
