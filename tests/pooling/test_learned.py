import math

import pytest
import torch

from poolbench.pooling.learned import LearnedLp, Strided
from poolbench.pooling.norms import Lp

X = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("depthwise", [False, True])
def test_strided_is_a_convolution_of_torch(depthwise: bool) -> None:
    module = Strided(3, 3, 2, 1, depthwise)
    peer = torch.nn.Conv2d(3, 3, 3, 2, 1, groups=3 if depthwise else 1)
    peer.load_state_dict(module.convolution.state_dict())
    torch.testing.assert_close(module(X), peer(X))


@pytest.mark.parametrize("p", [1.001, 2.0, 3.0, 10.0])
@pytest.mark.parametrize("per_channel", [False, True])
def test_learned_p_starts_where_it_is_told(p: float, per_channel: bool) -> None:
    torch.testing.assert_close(LearnedLp(3, p=p, per_channel=per_channel)(X), Lp(p=p)(X), rtol=1e-4, atol=1e-4)


def test_p_learns() -> None:
    """The p of the mean that is to be matched is found from its values."""
    module = LearnedLp(3)
    target = Lp(p=5.0)(X)
    optimizer = torch.optim.Adam(module.parameters(), 0.1)
    for _ in range(150):
        optimizer.zero_grad()
        (module(X) - target).square().mean().backward()
        optimizer.step()
    assert math.isclose(1 + math.log1p(math.exp(module.rho.item())), 5, rel_tol=0.01)


@pytest.mark.parametrize("p", [1.0, 0.5, math.inf, math.nan])
def test_p_is_above_one(p: float) -> None:
    with pytest.raises(ValueError, match="p must be above 1 and finite, got"):
        LearnedLp(3, p=p)
