"""What the definitions of the global operators promise, and what their peers compute."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling.heads import MAP, Attention, GeM, GlobalAverage, GlobalLp, LogSumExp, SimPool, SpatialPyramid
from tests.pooling.references.heads import simpool


@pytest.fixture
def layers() -> Any:
    return pytest.importorskip("timm").layers


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def maps(*shape: int) -> Tensor:
    return torch.randn(shape or (3, 4, 7, 5), generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_gap_is_adaptive_average_to_one_bin() -> None:
    torch.testing.assert_close(GlobalAverage()(maps()), nn.AdaptiveAvgPool2d(1)(maps()).flatten(1))


def test_gap_sums_beyond_float16() -> None:
    """256 times 300 is more than float16 holds; the mean is not."""
    assert (GlobalAverage()(torch.full((1, 2, 16, 16), 300.0, dtype=torch.float16)) == 300).all()


def test_gap_gmp_beside_timm(layers: Any) -> None:
    """timm halves the sum, and puts the mean first as we do."""
    halved = layers.adaptive_avgmax_pool.AdaptiveAvgMaxPool2d(1)(maps()).flatten(1)
    torch.testing.assert_close(pooling.create("gap_gmp", 4, combine="sum")(maps()), 2 * halved)
    both = layers.adaptive_avgmax_pool.AdaptiveCatAvgMaxPool2d(1)(maps()).flatten(1)
    torch.testing.assert_close(pooling.create("gap_gmp", 4)(maps()), both)


def test_lp_limits() -> None:
    """p = 1 is the mean of |x|; p towards inf approaches its maximum, and p = inf is it."""
    x = maps()
    torch.testing.assert_close(GlobalLp(1.0)(x), x.abs().mean((2, 3)))
    torch.testing.assert_close(GlobalLp(math.inf)(x), x.abs().amax((2, 3)))
    torch.testing.assert_close(GlobalLp(5000.0)(x), x.abs().amax((2, 3)), rtol=1e-3, atol=0)


@pytest.mark.parametrize("p", [0.5, 1.0, 2.0, 80.0])
def test_lp_is_finite_at_zeros_and_at_large_numbers(p: float) -> None:
    x = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]], [[0.0, 3e38], [-3e38, 1e-30]]]], requires_grad=True)
    y = GlobalLp(p)(x)
    y.sum().backward()
    assert x.grad is not None
    assert y.isfinite().all()
    assert x.grad.isfinite().all()
    assert (x.grad[0, 0] == 0).all()


def test_gem_limits() -> None:
    x = maps().abs() + 0.1
    torch.testing.assert_close(GeM(1.0).double()(x), x.mean((2, 3)))
    torch.testing.assert_close(GeM(5000.0).double()(x), x.amax((2, 3)), rtol=1e-3, atol=0)


def test_gem_learns_its_exponent_unless_it_is_fixed() -> None:
    x = maps().float()
    free, fixed = GeM(), GeM(learned=False)
    free(x).sum().backward()
    assert free.p.grad is not None
    assert free.p.grad != 0
    assert not fixed(x).requires_grad
    assert repr(free) == "GeM(p=3, learned=True, eps=1e-06)"


def test_lse_limits() -> None:
    """r near 0 is the mean, r large the maximum."""
    x = maps()
    torch.testing.assert_close(LogSumExp(1e-4)(x), x.mean((2, 3)), rtol=0, atol=1e-3)
    torch.testing.assert_close(LogSumExp(1e4)(x), x.amax((2, 3)), rtol=0, atol=1e-3)


def test_lse_weighs_large_numbers_as_small_ones() -> None:
    x = torch.tensor([1e7, 1e7, 1e7, 0.0]).view(1, 1, 2, 2).requires_grad_()
    y = LogSumExp(5.0)(x)
    (weights,) = torch.autograd.grad(y, x)
    torch.testing.assert_close(weights.flatten(), torch.tensor([1.0, 1.0, 1.0, 0.0]) / 3)
    assert torch.isposinf(LogSumExp()(torch.full((1, 1, 2, 2), torch.inf))).all()


def test_lse_beside_timm(layers: Any) -> None:
    peer = layers.other_pool.LsePlus2d(r=5.0, r_learnable=False).double()
    torch.testing.assert_close(LogSumExp(5.0)(maps()), peer(maps()))


@pytest.mark.parametrize("pool", ["max", "average"])
def test_spp_length_is_that_of_its_levels(pool: str) -> None:
    """Any size of the map gives the same length: 10 positions for 6 bins too, where He's windows are 9."""
    spp = SpatialPyramid((1, 2, 6), pool)
    assert {spp(maps(2, 4, *size)).shape for size in ((1, 1), (10, 10), (5, 13), (6, 6))} == {(2, 4 * 41)}


def test_spp_of_one_level_is_global() -> None:
    assert torch.equal(SpatialPyramid((1,))(maps()), pooling.create("gmp", 4)(maps()))
    torch.testing.assert_close(SpatialPyramid((1,), "average")(maps()), GlobalAverage()(maps()))


@pytest.mark.parametrize("levels", [(), (1, 0)])
def test_spp_refuses_a_level_without_bins(levels: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="levels must be whole numbers of at least 1"):
        SpatialPyramid(levels)


def test_map_beside_timm(layers: Any) -> None:
    """timm's head of the same weights; its keys' bias, which the softmax cancels, is any."""
    ours = MAP(8, heads=2).double()
    peer = layers.AttentionPoolLatent(8, num_heads=2, norm_layer=nn.LayerNorm).double()
    peer.norm.eps = ours.norm.eps
    with torch.no_grad():
        peer.latent.copy_(ours.probe[None])
        peer.q.load_state_dict(ours.query.state_dict())
        peer.kv.weight.copy_(torch.cat([ours.key.weight, ours.value.weight]))
        peer.kv.bias.copy_(torch.cat([torch.randn(8), ours.value.bias]))
        peer.proj.load_state_dict(ours.output.state_dict())
        peer.norm.load_state_dict(ours.norm.state_dict())
        peer.mlp.fc1.load_state_dict(ours.mlp[0].state_dict())
        peer.mlp.fc2.load_state_dict(ours.mlp[2].state_dict())
    peer.mlp.act = nn.GELU("tanh")
    x = maps(3, 8, 4, 5)
    torch.testing.assert_close(ours(x), peer(x.flatten(2).transpose(1, 2)))


def test_map_refuses_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="heads must divide the 8 channels, got 3"):
        MAP(8, heads=3)


@pytest.mark.parametrize("name", ["map", "simpool"])
def test_attention_follows_the_positions(name: str) -> None:
    """It sums to 1; a map turned upside down has the same vector, and its attention turned too."""
    head, x = pooling.create(name, 8).double(), maps(2, 8, 4, 5)
    assert isinstance(head, Attention)
    attention = head.attention(x)
    assert attention.shape == (2, 1, 4, 5)
    assert attention.std() > 1e-3
    torch.testing.assert_close(attention.sum((2, 3)), torch.ones(2, 1, dtype=torch.float64))
    torch.testing.assert_close(head(x.flip(2)), head(x))
    torch.testing.assert_close(head.attention(x.flip(2)), attention.flip(2))


def test_simpool_does_not_see_its_batch() -> None:
    """A picture's vector is the same beside any other, where the authors' code subtracts the minimum of the batch."""
    head, x = SimPool(8).double(), maps(2, 8, 4, 5)
    alone, beside = head(x[:1]), head(torch.cat([x[:1], -9 * x[1:].exp()]))[:1]
    torch.testing.assert_close(alone, beside, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(alone, torch.from_numpy(simpool(head, x[:1].numpy())))


def test_simpool_beside_timm_up_to_the_minimum(layers: Any) -> None:
    """With γ = 1 the minimum only displaces the result: timm's displacement is each channel's, ours the picture's."""
    ours, peer = SimPool(8, gamma=1.0).double(), layers.other_pool.SimPool2d(8, gamma=None).double()
    peer.q.load_state_dict(ours.query.state_dict())
    peer.k.load_state_dict(ours.key.state_dict())
    peer.norm.eps = ours.norm.eps
    x = maps(2, 8, 4, 5)
    normed = ours.norm(x.permute(0, 2, 3, 1))
    torch.testing.assert_close(ours(x) + normed.amin((1, 2, 3))[:, None] - 1e-6, peer(x))
