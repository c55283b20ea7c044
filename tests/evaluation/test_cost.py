import torch
from torch import nn

from poolbench.evaluation import cost


def test_counts_of_a_network_that_can_be_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 4 * 4, 10)
    )
    found = cost(network, {"pool": network[1]}, torch.zeros(2, 3, 8, 8))
    assert found.parameters == 8 * 27 + 128 * 10 + 10
    assert found.multiply_adds == 8 * 8 * 8 * 27 + 128 * 10
    kept = 8 * 8 * 8 * 4 + 8 * 4 * 4 * 8  # max pooling keeps its input and an index an output
    assert found.bytes_saved == kept
    assert 0 < found.forward_ms < found.step_ms
    assert 0 < found.pool_step_ms < found.step_ms
