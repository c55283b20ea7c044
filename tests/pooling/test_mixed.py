import pytest
import torch

from poolbench.pooling.fixed import Average, Max
from poolbench.pooling.mixed import Gated, Mixed, Tree
from poolbench.pooling.window import Padding

X = torch.randn(2, 3, 7, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(("weight", "limit"), [(0.0, Average), (1.0, Max)])
@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 2, 0), (3, 2, 1), (3, 1, "same")])
def test_the_ends_are_average_and_max(
    weight: float, limit: type[Max | Average], kernel: int, stride: int, padding: Padding
) -> None:
    torch.testing.assert_close(Mixed(3, kernel, stride, padding, weight=weight)(X), limit(kernel, stride, padding)(X))


@pytest.mark.parametrize(("learned", "parameters"), [("no", 0), ("layer", 1), ("channel", 3)])
def test_a_learned_weight_starts_where_it_is_told(learned: str, parameters: int) -> None:
    module = Mixed(3, weight=0.2, learned=learned)
    assert sum(each.numel() for each in module.parameters()) == parameters
    torch.testing.assert_close(module(X), Mixed(3, weight=0.2)(X))


def test_a_learned_weight_stays_between_its_bounds() -> None:
    module = Mixed(3, learned="layer")
    assert module.logit is not None
    module.logit.data.fill_(100)
    torch.testing.assert_close(module(X), Max()(X))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": 1.5}, "weight must be from 0 to 1, got 1.5"),
        ({"weight": 1.0, "learned": "layer"}, "weight must lie between 0 and 1 where it is learned, got 1.0"),
        ({"learned": "chanel"}, "unknown learned 'chanel': did you mean 'channel'"),
    ],
)
def test_bad_options(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Mixed(3, **options)


def test_a_gate_starts_half_open_and_opens_by_its_mask() -> None:
    module = Gated(3)
    torch.testing.assert_close(module(X), Mixed(3, weight=0.5)(X))
    positive = X.abs() + 1
    module.mask.data.fill_(100)
    torch.testing.assert_close(module(positive), Max()(positive))
    module.mask.data.fill_(-100)
    torch.testing.assert_close(module(positive), Average()(positive))


@pytest.mark.parametrize(("per_channel", "parameters"), [(False, 9), (True, 27)])
def test_a_mask_is_shared_unless_told_otherwise(per_channel: bool, parameters: int) -> None:
    assert sum(each.numel() for each in Gated(3, 3, per_channel=per_channel).parameters()) == parameters


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_tree_of_equal_means_is_average(levels: int) -> None:
    module = Tree(3, 3, 2, 1, levels=levels)
    assert len(module.leaves) == len(module.gates) + 1 == 2 ** (levels - 1)
    module.leaves.data.fill_(1 / 9)
    torch.nn.init.normal_(module.gates)
    torch.testing.assert_close(module(X), Average(3, 2, 1)(X))


def test_a_tree_has_levels() -> None:
    with pytest.raises(ValueError, match="levels must be from 1 to 8, got 0"):
        Tree(3, levels=0)
