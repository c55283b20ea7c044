import pytest
import torch
from torch import Tensor, nn

from poolbench.pooling.fixed import Average, Max, Subsample
from poolbench.pooling.receptive import receptive_field
from poolbench.pooling.window import Local


def seen(chain: list[Local], size: int, row: int, column: int) -> Tensor:
    """Positions of the input that a gradient from one output reaches, for any of many random inputs."""
    x = torch.rand(400, 1, size, size, requires_grad=True)
    nn.Sequential(*chain)(x)[:, :, row, column].sum().backward()
    assert x.grad is not None
    return x.grad.ne(0).any(0)[0].nonzero()


@pytest.mark.parametrize(
    "chain",
    [
        [Average(2)],
        [Max(3, 2), Max(2, 2)],
        [Average(3, 1), Average((2, 3), (2, 3)), Average(3, 1)],
        [Max(2, 2, dilation=2), Average(2, 1)],
        [Average((1, 4), (2, 1)), Max((3, 1), 2)],
    ],
    ids=repr,
)
def test_computed_is_what_gradients_reach(chain: list[Local]) -> None:
    torch.manual_seed(0)
    size, step = receptive_field(each.window for each in chain)
    here, below, beside = (seen(chain, 25, *place) for place in ((1, 1), (2, 1), (1, 2)))
    assert tuple((here.amax(0) - here.amin(0) + 1).tolist()) == size
    assert tuple((below.amin(0) - here.amin(0)).tolist()) == (step[0], 0)
    assert tuple((beside.amin(0) - here.amin(0)).tolist()) == (0, step[1])


def test_halving_keeps_a_quarter_of_the_positions() -> None:
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    Subsample(2)(x).sum().backward()
    assert x.grad is not None
    assert int(x.grad.count_nonzero()) == x.numel() // 4
    assert Max(2)(x).numel() == Average(2)(x).numel() == x.numel() // 4
