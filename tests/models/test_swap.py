"""Slots and swap on models that were not made for it."""

import copy
import pickle
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18
from torchvision.models.resnet import BasicBlock, Bottleneck

from poolbench import models, pooling
from poolbench.models.slots import Slot

PICTURE = torch.zeros(1, 3, 32, 32)


class Functional(nn.Module):
    """Functions where others have layers, and one layer in two places."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 16, 3, padding=1)
        self.pool = nn.MaxPool2d(2)
        self.auxiliary = nn.Linear(2, 2)  # stays, though no forward calls it
        self.fc = nn.Linear(16, 10)

    def forward(self, x: Tensor, scale: float | None = None) -> Tensor:
        x = self.pool(F.relu(self.first(x)))
        x = F.avg_pool2d(self.pool(F.relu(self.second(x))), kernel_size=3, stride=2, padding=1)
        if scale is not None:
            x = x * scale
        return self.fc(x.mean([2, 3]))


class Nested(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk = nn.ModuleDict({"body": nn.Sequential(nn.Conv2d(3, 4, 3), nn.Sequential(nn.AvgPool2d(3, 2)))})
        self.end = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(4, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.end(self.trunk["body"](x))


def operators(slots: list[Slot]) -> list[Any]:
    """What was put into the slots, the head left out."""
    return [vars(slot.layer)["_modules"]["operator"] for slot in slots if slot.takes == "local"]


def summary(slots: list[Slot]) -> list[tuple]:
    return [(slot.name, slot.kind, slot.takes, slot.before[1:], slot.after[1:]) for slot in slots]


def unchanged(model: nn.Module, attempt: Callable[[], object]) -> str:
    """The message of the ValueError that an attempt raises, which leaves the model as it was."""
    before, layers = copy.deepcopy(model.state_dict()), [type(layer) for layer in model.modules()]
    strides = [layer.stride for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    training = [layer.training for layer in model.modules()]
    with pytest.raises(ValueError, match=r"\S") as caught:
        attempt()
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert [type(layer) for layer in model.modules()] == layers
    assert [layer.stride for layer in model.modules() if isinstance(layer, nn.Conv2d)] == strides
    assert [layer.training for layer in model.modules()] == training
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_slots_of_a_residual_network():
    assert summary(models.slots(resnet18())) == [
        ("conv1", "strided", "local", (3, 224, 224), (64, 112, 112)),
        ("maxpool", "max", "local", (64, 112, 112), (64, 56, 56)),
        ("layer2.0.conv1", "strided", "local", (64, 56, 56), (128, 28, 28)),
        ("layer2.0.downsample.0", "strided", "local", (64, 56, 56), (128, 28, 28)),
        ("layer3.0.conv1", "strided", "local", (128, 28, 28), (256, 14, 14)),
        ("layer3.0.downsample.0", "strided", "local", (128, 28, 28), (256, 14, 14)),
        ("layer4.0.conv1", "strided", "local", (256, 14, 14), (512, 7, 7)),
        ("layer4.0.downsample.0", "strided", "local", (256, 14, 14), (512, 7, 7)),
        ("avgpool", "average", "global", (512, 7, 7), (512, 1, 1)),
    ]


def test_slots_of_functions_and_of_a_layer_in_two_places():
    assert summary(models.slots(Functional(), PICTURE)) == [
        ("first", "strided", "local", (3, 32, 32), (8, 16, 16)),
        ("pool#1", "max", "local", (8, 16, 16), (8, 8, 8)),
        ("pool#2", "max", "local", (16, 8, 8), (16, 4, 4)),
        ("avg_pool2d", "average", "local", (16, 4, 4), (16, 2, 2)),
        ("mean", "mean", "global", (16, 2, 2), (16,)),
    ]


def test_slots_of_nested_layers():
    assert summary(models.slots(Nested(), PICTURE)) == [
        ("trunk.body.1.0", "average", "local", (4, 30, 30), (4, 14, 14)),
        ("end.0", "max", "global", (4, 14, 14), (4, 1, 1)),
    ]


def test_squeeze_and_excitation_is_no_head():
    from torchvision.models import efficientnet_b0

    with torch.device("meta"):
        slots = models.slots(efficientnet_b0())
    assert [slot.name for slot in slots if slot.takes == "global"] == ["avgpool"]
    assert "strided" in {slot.kind for slot in slots}


def test_watching_leaves_no_trace():
    model = resnet18().train()
    models.slots(model, torch.zeros(1, 3, 64, 64))
    assert model.training
    assert model.bn1.num_batches_tracked == 0
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in model.modules())


@pytest.mark.parametrize("pool", ["max_blur", "lip", "spectral", pooling.spec("median").operator])
@pytest.mark.parametrize("model", [Functional, Nested])
def test_every_slot_is_swapped_and_every_weight_is_kept(model, pool):
    torch.manual_seed(0)
    one = model()
    other = models.swap(one, pool=pool, head="gem", example=PICTURE)
    before, after = one.state_dict(), other.state_dict()
    assert before.keys() <= after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    slots = models.slots(other, PICTURE)
    assert [type(each) for each in operators(slots)] == [pooling.spec(pool).operator] * (len(slots) - 1)
    assert [slot.after for slot in slots] == [slot.after for slot in models.slots(one, PICTURE)]
    assert other(torch.rand(3, 3, 32, 32)).shape == one(torch.rand(3, 3, 32, 32)).shape


def test_the_same_operator_in_its_own_place_computes_the_same():
    """Maximum and average with the window of the slot: what was put in is where the other was."""
    torch.manual_seed(0)
    one, x = Functional().eval(), torch.rand(2, 3, 32, 32)
    other = models.swap(one, pool="max", where=["max"], example=PICTURE)
    other = models.swap(other, pool="average", where=["average"], head="gap", example=PICTURE)
    torch.testing.assert_close(other(x), one(x))


def test_a_strided_convolution_becomes_a_dense_one_and_the_operator_follows_its_activation():
    torch.manual_seed(0)
    block = BasicBlock(4, 8, 2, nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))).eval()
    x = torch.rand(2, 4, 10, 10)
    other = models.swap(block, pool="blur", example=x[:1])
    blur = pooling.create("blur", 8)

    def expected(x: Tensor) -> Tensor:
        conv1, shortcut = block.conv1, block.downsample[0]
        y = F.relu(block.bn1(F.conv2d(x, conv1.weight, padding=1)))
        y = block.bn2(block.conv2(blur(y)))
        return F.relu(y + blur(block.downsample[1](F.conv2d(x, shortcut.weight))))

    torch.testing.assert_close(other(x), expected(x))
    subsampled = models.swap(block, pool={"name": "subsample", "kernel_size": 1}, example=x[:1])
    torch.testing.assert_close(subsampled(x), block(x))  # a stride is a dense convolution, subsampled


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_both_branches_of_a_block_share_the_choice_of_aps(block):
    """Only then does a circular shift move what comes out, and change nothing else."""
    torch.manual_seed(0)
    shortcut = nn.Sequential(nn.Conv2d(4, 8, 1, 2, bias=False), nn.BatchNorm2d(8))
    model = block(4, 8 // block.expansion, 2, shortcut).eval()
    for layer in (model.conv1, model.conv2):
        layer.padding_mode = "circular"
        layer._reversed_padding_repeated_twice = [layer.padding[0]] * 4
    swapped = models.swap(model, pool="aps", example=torch.rand(1, 4, 8, 8))
    x = torch.rand(5, 4, 8, 8)
    for shift in [(1, 0), (0, 1), (3, 2)]:
        moved = x.roll(shift, (2, 3))
        torch.testing.assert_close(swapped(x).mean((2, 3)), swapped(moved).mean((2, 3)))
        assert not torch.allclose(model(x).mean((2, 3)), model(moved).mean((2, 3)), rtol=1e-3)


def test_lps_shares_its_choice_in_training_and_learns_from_both_branches():
    network = models.create("resnet_mini", (1, 28, 28), 10, pool="lps")
    network(torch.rand(2, 1, 28, 28)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_options_and_windows():
    network = nn.Sequential(nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2))

    def windows(pool):
        swapped = models.swap(network, pool=pool, example=PICTURE)
        return [each.window for each in operators(models.slots(swapped, PICTURE))]

    matched = windows("stochastic")
    assert [(window.kernel, window.stride, window.padding) for window in matched] == [
        ((3, 3), (2, 2), (1, 1)),
        ((2, 2), (2, 2), (0, 0)),
    ]
    assert [window.kernel for window in windows({"name": "max", "kernel_size": 2})] == [(2, 2), (2, 2)]
    assert [window.kernel for window in windows("overlapping_max")] == [(3, 3), (3, 3)]


@pytest.mark.parametrize("size", [31, 32])
@pytest.mark.parametrize("pool", ["blur", "aps", "space_to_depth", "wavelet", "overlapping_max", "strided", "spectral"])
def test_operators_with_a_shape_law_of_their_own_are_fitted(pool, size):
    """Maps of odd size, rounded up by one slot and down by the next."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(3, 2), nn.MaxPool2d(2, ceil_mode=True)
    )
    example = torch.zeros(1, 3, size, size)
    other = models.swap(model, pool=pool, example=example)
    assert [slot.after for slot in models.slots(other, example)] == [
        slot.after for slot in models.slots(model, example)
    ]


@pytest.mark.parametrize("pool", ["aps", "wavelet"])
def test_the_gradient_of_a_map_that_is_cut_keeps_its_layout(pool):
    """What reads the map before the slot is many times slower where layouts differ."""
    example = torch.zeros(1, 16, 15, 15)
    model = models.swap(nn.Sequential(nn.MaxPool2d(2)), pool=pool, example=example)
    x = example.expand(2, -1, -1, -1).contiguous(memory_format=torch.channels_last).requires_grad_()
    seen = []
    before = x * 1
    before.register_hook(lambda gradient: seen.append(gradient.is_contiguous(memory_format=torch.channels_last)))
    output = model(before)
    assert output.shape[-2:] == (7, 7)
    output.sum().backward()
    assert seen == [True]


def test_a_swapped_model_is_copied_pickled_exported_and_swapped_again():
    torch.manual_seed(0)
    x = torch.rand(2, 3, 64, 64)
    swapped = models.swap(resnet18(num_classes=5), pool="blur", example=x[:1]).eval()
    for again in (
        copy.deepcopy(swapped),
        pickle.loads(pickle.dumps(swapped)),
        torch.export.export(swapped, (x,)).module(),
    ):
        torch.testing.assert_close(again(x), swapped(x))
    other = models.swap(swapped, pool="average", example=x[:1])
    assert {type(each).__name__ for each in operators(models.slots(other, x[:1]))} == {"Average"}


def test_a_head_of_another_length_asks_before_it_takes_the_classifier():
    model = resnet18(num_classes=5)
    example = torch.zeros(1, 3, 64, 64)
    message = unchanged(model, lambda: models.swap(model, head="flatten", example=example))
    assert message == (
        "slot avgpool: flatten gives 2048 numbers a picture in place of 512, and the next layer, fc, takes 512: "
        "widen=True makes it anew, untrained"
    )
    swapped: Any = models.swap(model, head="flatten", example=example, widen=True)
    assert swapped.fc.in_features == 2048


class Branching(nn.Module):
    """A forward that depends on its input's numbers."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2) if x.sum() >= 0 else F.avg_pool2d(x, 2)


class Dropping(nn.Module):
    """A forward that is another in training."""

    def forward(self, x: Tensor) -> Tensor:
        return F.dropout(F.max_pool2d(x, 2), training=self.training)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.halve = Dropping()

    def forward(self, x: Tensor) -> Tensor:
        return self.halve(self.halve(x))


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.MaxPool2d(2), nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.one(x) + self.other(x)


BLUR = {"pool": "blur"}


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (nn.Conv2d(3, 4, 3), BLUR, "pool=blur: the model has no slot: nothing in it pools"),
        (nn.Conv2d(3, 4, 3), {"head": "gem"}, "head=gem: the model has no head"),
        (nn.MaxPool2d(2), {"pool": "gap"}, "pool=gap: a pool slot takes a local operator and this one is global"),
        (nn.MaxPool2d(2), {"pool": "blurr"}, "unknown operator 'blurr': did you mean 'blur'"),
        (nn.MaxPool2d(2), {"pool": {"name": "blur", "filter_size": 9}}, "filter_size must be from 1 to 7"),
        (nn.MaxPool2d(2), {"pool": {"name": "blur", "stride": 3}}, "its stride is 2, and blur has 3: leave stride out"),
        (nn.MaxPool2d(64), BLUR, "a map of 32 x 32 pixels"),
        (
            nn.Sequential(nn.MaxPool2d(2)), {"pool": {"name": "max", "kernel_size": 40}},
            "slot 0, a map of 32 x 32 pixels: the window is larger than the map",
        ),
        (
            nn.Sequential(nn.MaxPool2d(4)), {"pool": "patch_merging"},
            r"slot 0, a map of 32 x 32 pixels: patch_merging gives \(3, 16, 16\) and the next layer "
            r"expects \(3, 8, 8\)",
        ),
        (nn.Sequential(nn.Linear(5, 2)), BLUR, "layer 0, a map of 32 x 32 pixels: .*mat1 and mat2"),
        (Branching(), BLUR, r"slot max_pool2d: the forward of the model \(Branching\) cannot be traced"),
        (nn.Sequential(Dropping()), BLUR, r"slot 0.max_pool2d: the forward of 0 \(Dropping\) is another in training"),
        (Twice(), BLUR, "halve is called 2 times, so a change of it would concern them all"),
        (
            Residual(), {"pool": {"name": "fractional_max", "ratio": 1.5}, "where": ["max"]},
            r"layer of the model, a map of 32 x 32 pixels: The size .* \(slots whose maps have another size: one\)",
        ),
        (
            nn.Sequential(nn.MaxPool2d(2)), {"pool": {"name": "adaptive_max", "output_size": 5}},
            r"the output would be of shape \[\(1, 3, 5, 5\)\] in place of \[\(1, 3, 16, 16\)\]",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_named_and_change_nothing(model, options, message):
    found = unchanged(model, lambda: models.swap(model, **options, example=PICTURE))
    assert re.search(message, found), found
