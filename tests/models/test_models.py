from typing import Any

import pytest
import torch
from torch import nn

from poolbench import models, pooling

INFO = {"channels": 1, "height": 28, "width": 28, "classes": list("abcd"), "mean": [0.3], "std": [0.2]}
CNN = {"name": "cnn", "widths": [4, 8]}
SMALL = tuple(
    name
    for name in models.names()
    if models.task(name) == "classification" and (name in ("lenet5", "cnn") or name.endswith("_mini"))
)
PUBLISHED = {
    "alexnet": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "googlenet": 6_624_904,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "densenet121": 7_978_856,
    "mobilenet_v1": 4_231_976,
    "mobilenet_v2": 3_504_872,
    "efficientnet_b0": 5_288_548,
    "vit_tiny": 5_717_416,
    "vit_small": 22_050_664,
    "swin_tiny": 28_288_354,
}
"""Weights for ImageNet's 1,000 classes, as the libraries publish them."""


def build(pool="max", head="gap", info=INFO, **options):
    return models.build({"model": CNN | options, "pool": {"name": pool}, "head": {"name": head}}, info)


def weights(model):
    return sum(parameter.numel() for parameter in model.parameters())


def placed(network: nn.Module) -> list[Any]:
    """What was put into the slots."""
    layers: list[Any] = [slot.layer for slot in models.slots(network, torch.zeros(1, 1, 28, 28))]
    return [layer.operator for layer in layers if type(layer).__name__ == "Placed"]


@pytest.mark.parametrize("pool", pooling.names("local"))
def test_every_local_operator_fits_the_slots(pool):
    logits = build(pool)(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert logits.shape == (3, 4)


@pytest.mark.parametrize("head", pooling.names("global"))
def test_every_global_operator_fits_the_head(head):
    model = build(head=head)
    model(torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "count"), PUBLISHED.items())
def test_published_networks_have_their_weights(name, count):
    with torch.device("meta"):
        assert weights(models.create(name, (3, 224, 224), 1000)) == count


def test_networks_of_our_own_have_the_weights_of_their_papers():
    assert weights(models.create("lenet5", (1, 28, 28), 10)) == 61_706
    assert weights(models.create("nin", (3, 32, 32), 10)) == 966_986
    assert weights(models.create("all_cnn", (3, 32, 32), 10, form="all")) == 1_369_738


def test_a_spatial_pyramid_is_50_bins_long_whatever_the_picture():
    with torch.device("meta"):
        networks: list[Any] = [models.create("sppnet", (3, size, size), 1000) for size in (224, 180)]
    assert [network.classifier[0].in_features for network in networks] == [50 * 256] * 2


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 64, 64)])
@pytest.mark.parametrize("name", SMALL)
def test_every_small_network_learns_from_small_pictures(name, shape):
    torch.manual_seed(0)
    network = models.create(name, shape, 5)
    logits = network(torch.rand(2, *shape))
    assert logits.shape == (2, 5)
    logits.square().sum().backward()
    used = [parameter.grad is not None for key, parameter in network.named_parameters()]
    assert all(used)
    assert weights(network) < (160_000 if shape[1] == 28 else 700_000)


@pytest.mark.parametrize("pool", ["max_blur", "aps"])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "vit_mini"])
def test_small_networks_take_another_operator(name, pool):
    network = models.create(name, (1, 28, 28), 10, pool=pool)
    kinds = {type(getattr(operator, "operator", operator)) for operator in placed(network)}  # a choice may be shared
    assert kinds == {pooling.spec(pool).operator}
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("head", ["gap", "flatten", "gem", "map"])
@pytest.mark.parametrize("name", [name for name in SMALL if name != "vit_mini"])
def test_small_networks_take_another_head(name, head):
    network = models.create(name, (1, 28, 28), 10, head=head)
    assert type(placed(network)[-1]) is pooling.spec(head).operator
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("head", pooling.names("token"))
def test_a_vision_transformer_takes_every_token_operator(head):
    network: Any = models.create("vit_mini", (1, 28, 28), 10, head=head)
    network(torch.rand(2, 1, 28, 28)).sum().backward()
    assert all(parameter.grad is not None for parameter in network.pool.parameters())


@pytest.mark.parametrize("pool", ["patch_merging", "patch_merging_v2", "average", "max", "blur"])
def test_swin_merges_by_other_operators(pool):
    network = models.create("swin_mini", (1, 28, 28), 10, pool=pool)
    (slot, _) = models.slots(network, torch.zeros(1, 1, 28, 28))
    assert (slot.kind, slot.before, slot.after) == ("merging", (1, 7, 7, 24), (1, 4, 4, 48))
    assert [type(each) for each in placed(network)] == [pooling.spec(pool).operator]
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_patch_merging_in_its_own_slot_computes_what_swin_computes():
    original = models.create("swin_mini", (3, 32, 32), 10).eval()
    placed = models.create("swin_mini", (3, 32, 32), 10, pool="patch_merging").eval()
    placed.load_state_dict(
        {name.replace("features.2.", "features.2.operator."): value for name, value in original.state_dict().items()}
    )
    x = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(placed(x), original(x))


@pytest.mark.parametrize("variant", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("form", "kinds"),
    [("base", ["max"]), ("strided", ["strided"]), ("conv_pool", ["max"]), ("all", ["strided"])],
)
def test_all_cnn_has_four_forms(variant, form, kinds):
    network = models.create("all_cnn_mini", (1, 28, 28), 10, variant=variant, form=form)
    slots = models.slots(network, torch.zeros(1, 1, 28, 28))
    assert [slot.kind for slot in slots] == [*kinds * 2, "gap"]
    assert slots[-1].before == (1, 10, 5, 5)
    convolutions = sum(isinstance(layer, nn.Conv2d) for layer in network.modules())
    assert convolutions == (5 if variant == "a" else 7) + 2 * (form in ("conv_pool", "all"))


def test_where_says_which_slots_take_the_operator():
    network = models.create("resnet_mini", (1, 28, 28), 10, pool="max", where=["strided"])
    kinds = [type(slot.layer).__name__ for slot in models.slots(network, torch.zeros(1, 1, 28, 28))]
    assert kinds == ["OverlappingMax", "Placed", "Placed", "Placed", "Placed", "GlobalAverage"]


def test_slots_are_named():
    names = [slot.name for slot in models.slots(build("blur"), torch.zeros(1, 1, 28, 28, dtype=torch.uint8))]
    assert names == ["network.pool1", "network.pool2", "network.head"]


def test_stored_pictures_are_normalised_to_mean_0_and_deviation_1():
    images = torch.randint(0, 256, (50, 3, 9, 9), dtype=torch.uint8)
    scaled = images.double() / 255
    normalise = models.Normalise(scaled.mean((0, 2, 3)).tolist(), scaled.std((0, 2, 3)).tolist())
    x = normalise(images)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


OTHERS = {"vit_mini": {"head": {"name": "token_map"}}}


@pytest.mark.parametrize("name", SMALL)
def test_equal_seeds_give_equal_weights_wherever_names_agree(name):
    """So that runs that differ in one operator are paired."""
    original = {"name": "original"}
    chosen = {"pool": original, "head": original}
    one = models.build({"model": {"name": name}, **chosen}, INFO)
    other = models.build({"model": {"name": name}, **(chosen | OTHERS.get(name, {"pool": {"name": "strided"}}))}, INFO)
    models.initialise(one, seed=5)
    models.initialise(other, seed=5)
    theirs = dict(other.named_parameters())
    shared = {key: weight for key, weight in one.named_parameters() if key in theirs}
    assert (
        len(shared) == len(dict(one.named_parameters())) or name == "swin_mini"
    )  # whose merging has weights of its own
    for key, weight in shared.items():
        assert torch.equal(weight, theirs[key]), key
    models.initialise(other, seed=6)
    drawn = [key for key, weight in shared.items() if weight.ndim > 1]
    assert drawn
    assert not any(torch.equal(shared[key], theirs[key]) for key in drawn)


def test_weights_that_no_layer_draws_are_drawn_too():
    model = models.build({"model": {"name": "vit_mini"}}, INFO)
    before = {key: value.clone() for key, value in model.named_parameters()}
    models.initialise(model, seed=1)
    for key in ("network.trunk.cls_token", "network.trunk.pos_embed"):
        drawn = model.get_parameter(key)
        assert not torch.equal(drawn, before[key])
        assert 0.01 < drawn.std() < 0.03


def test_initialising_leaves_the_global_generator_alone():
    model, before = build(), torch.get_rng_state()
    models.initialise(model, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("name", "first", "count"),
    [("cnn", "head", 1), ("alexnet_mini", "features.head", 3), ("vit_mini", "pool", 1), ("densenet_mini", "", 1)],
)
def test_the_head_ends_in_the_linear_layers(name, first, count):
    network = models.create(name, (1, 28, 28), 10)
    layers = models.head(network, torch.zeros(1, 1, 28, 28))
    assert sum(isinstance(layer, nn.Linear) for layer in layers) == count
    assert not any(isinstance(layer, nn.Conv2d) for layer in layers)
    assert layers[0] is network.get_submodule(first or "global_pool.pool")


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: build(name="cnm"), r"unknown model 'cnm': did you mean 'cnn'"),
        (lambda: build(width=3), "unknown option of model 'cnn' 'width': did you mean 'widths'"),
        (lambda: build(padding_mode="reflect"), "unknown model.padding_mode 'reflect'.*zeros, circular"),
        (lambda: build(widths=[]), "model.widths must be one positive number a stage"),
        (lambda: build(pool="gap"), "pool=gap: a pool slot takes a local operator and this one is global"),
        (lambda: build(head="max"), "head=max: a head slot takes a global operator and this one is local"),
        (
            lambda: models.build({"model": {"name": "vit_mini"}, "head": {"name": "gap"}}, INFO),
            "head=gap: a head slot takes a token operator and this one is global; choose from cls",
        ),
        (
            lambda: models.build({"model": CNN, "pool": {"name": "max", "return_indices": True}}, INFO),
            "slot pool1 takes one map on and gets a tuple: leave return_indices out",
        ),
        (lambda: build(info=INFO | {"height": 2}), "layer pool2, a map of 1 x 14 pixels: the window is"),
        (lambda: models.create("alexnet", (3, 28, 28), 10), "layer features.5, a map of 2 x 2 pixels"),
        (lambda: models.create("all_cnn_mini", (1, 28, 28), 10, form="al"), "unknown model.form 'al': did you mean"),
        (lambda: models.create("all_cnn_mini", (1, 28, 28), 10, variant="d"), "unknown model.variant 'd'"),
        (lambda: models.create("vit_mini", (1, 30, 30), 10), "model.patch must divide the pictures' 30 x 30 pixels"),
        (lambda: models.create("vit_mini", (1, 28, 28), 10, heads=5), "model.heads must divide model.width, .* 48"),
        (lambda: models.create("vgg_mini", (1, 28, 28), 10, depths=[1]), "model.widths and model.depths"),
        (lambda: models.create("resnet_mini", (1, 28, 28), 10, widths=[]), "model.widths must be one positive"),
        (
            lambda: models.create("cnn", (1, 28, 28), 10, pool="blur", where=["pool4"]),
            r"no slot matches where=\['pool4'\]; the slots are pool1 \(max\), pool2 \(max\), pool3 \(max\)",
        ),
    ],
)
def test_mistakes_are_named(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_a_class_of_your_own_stands_in_a_slot():
    class Mine(nn.AvgPool2d):
        def __init__(self) -> None:
            super().__init__(2)

    network: Any = models.create("cnn", (1, 16, 16), 3, pool=Mine)
    assert isinstance(network.pool1.operator, Mine)


def test_a_network_is_registered_once():
    with pytest.raises(ValueError, match="'cnn' is registered already, as Cnn"):
        models.register("cnn")


def test_circular_padding_meets_no_border():
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    for mode, alike in (("circular", True), ("zeros", False)):
        model = build(padding_mode=mode).eval()
        assert torch.allclose(model(images.roll((4, -8), (2, 3))), model(images), atol=1e-5) == alike
