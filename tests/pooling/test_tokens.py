"""What the definitions of the token operators promise."""

import pytest
import torch
from torch import Tensor

from poolbench import pooling
from poolbench.pooling.heads import Attention

LENGTH, CHANNELS = 12, 8


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def tokens() -> Tensor:
    return torch.randn(2, 1 + LENGTH, CHANNELS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", ["token_gap", "token_gmp", "token_map", "token_simpool"])
def test_class_token_is_left_out(name: str) -> None:
    operator, x = pooling.create(name, CHANNELS).double(), tokens()
    other = torch.cat([9 * torch.rand_like(x[:, :1]), x[:, 1:]], 1)
    assert torch.equal(operator(x), operator(other))


@pytest.mark.parametrize(("token", "whole"), [("token_gmp", "gmp"), ("token_map", "map"), ("token_simpool", "simpool")])
def test_tokens_of_a_map_give_what_the_map_gives(token: str, whole: str) -> None:
    """Of the same weights, the token operator is the global one over the same positions; so is its attention."""
    options = {"gamma": 1.25} if whole == "simpool" else {}
    over_map = pooling.create(whole, CHANNELS, **options).double()
    over_tokens = pooling.create(token, CHANNELS).double()
    over_tokens.load_state_dict(over_map.state_dict())
    x = tokens()
    picture = x[:, 1:].transpose(1, 2).reshape(2, CHANNELS, 3, 4)
    torch.testing.assert_close(over_tokens(x), over_map(picture))
    if isinstance(over_tokens, Attention) and isinstance(over_map, Attention):
        torch.testing.assert_close(over_tokens.attention(x), over_map.attention(picture).flatten(2))


def test_order_of_the_norm_matters() -> None:
    before, after = (
        pooling.create("token_gap", CHANNELS, order=order).double() for order in ("norm_mean", "mean_norm")
    )
    x, norm = tokens(), torch.nn.functional.layer_norm
    torch.testing.assert_close(before(x), norm(x[:, 1:], (CHANNELS,), eps=1e-6).mean(1))
    torch.testing.assert_close(after(x), norm(x[:, 1:].mean(1), (CHANNELS,), eps=1e-6))


def test_class_token_comes_first_in_cls_gap() -> None:
    x = tokens()
    both = pooling.create("cls_gap", CHANNELS)(x)
    assert torch.equal(both[:, :CHANNELS], pooling.create("cls", CHANNELS)(x))
    torch.testing.assert_close(both[:, CHANNELS:], x[:, 1:].mean(1))
