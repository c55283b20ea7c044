from functools import partial

import pytest
import torch

from poolbench import models, pooling

INFO = {"channels": 1, "height": 28, "width": 28, "classes": list("abcd"), "mean": [0.3], "std": [0.2]}
CNN = {"name": "cnn", "widths": [4, 8]}


def build(pool="max", head="gap", info=INFO, **options):
    return models.build(CNN | options, {"name": pool}, {"name": head}, info)


@pytest.mark.parametrize("pool", pooling.names("local"))
def test_every_local_operator_fits_the_slots(pool):
    logits = build(pool)(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))
    assert logits.shape == (3, 4)


@pytest.mark.parametrize("head", pooling.names("global"))
def test_every_global_operator_fits_the_head(head):
    model = build(head=head)
    model(torch.randint(0, 256, (3, 1, 28, 28), dtype=torch.uint8)).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_slots_are_named():
    assert list(models.slots(build())) == ["pool1", "pool2", "head"]


def test_stored_pictures_are_normalised_to_mean_0_and_deviation_1():
    images = torch.randint(0, 256, (50, 3, 9, 9), dtype=torch.uint8)
    scaled = images.double() / 255
    normalise = models.Normalise(scaled.mean((0, 2, 3)).tolist(), scaled.std((0, 2, 3)).tolist())
    x = normalise(images)
    assert x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3)), torch.ones(3), atol=1e-4, rtol=0)


def test_equal_seeds_give_equal_weights_wherever_names_agree():
    """So that runs that differ in one operator are paired."""
    one, other = build("max"), build("strided")
    models.initialise(one, seed=5)
    models.initialise(other, seed=5)
    shared = dict(one.named_parameters()).items()
    assert shared
    for name, weight in shared:
        assert torch.equal(weight, other.get_parameter(name)), name
    models.initialise(other, seed=6)
    assert not torch.equal(one.get_parameter("network.stage1.0.weight"), other.get_parameter("network.stage1.0.weight"))


def test_initialising_leaves_the_global_generator_alone():
    model, before = build(), torch.get_rng_state()
    models.initialise(model, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: build(name="cnm"), r"unknown model 'cnm': did you mean 'cnn'\?"),
        (lambda: build(width=3), "unknown option of model 'cnn' 'width': did you mean 'widths'"),
        (lambda: build(padding_mode="reflect"), "unknown model.padding_mode 'reflect'.*zeros, circular"),
        (lambda: build(widths=[]), "model.widths must be one positive number a stage"),
        (lambda: build(pool="gap"), "pool=gap: a pool slot takes a local operator and this one is global"),
        (lambda: build(head="max"), "head=max: a head slot takes a global operator and this one is local"),
        (
            lambda: models.build(CNN, {"name": "max", "return_indices": True}, {"name": "gap"}, INFO),
            "slot pool1 of the network takes one map on and gets a tuple: leave return_indices out",
        ),
        (lambda: build(info=INFO | {"height": 2}), "slot pool2 of the network, a map of 1 x 14 pixels: the window is"),
    ],
)
def test_mistakes_are_named(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


def test_a_class_of_your_own_stands_in_a_slot():
    class Mine(torch.nn.AvgPool2d):
        def __init__(self) -> None:
            super().__init__(2)

    network = models.create("cnn", partial(pooling.create, Mine), partial(pooling.create, "gap"), (1, 16, 16), 3)
    assert isinstance(network.pool1, Mine)


def test_a_network_is_registered_once():
    with pytest.raises(ValueError, match="'cnn' is registered already, as Cnn"):
        models.register("cnn")


def test_circular_padding_meets_no_border():
    images = torch.randint(0, 256, (2, 1, 28, 28), dtype=torch.uint8)
    for mode, alike in (("circular", True), ("zeros", False)):
        model = build(padding_mode=mode).eval()
        assert torch.allclose(model(images.roll((4, -8), (2, 3))), model(images), atol=1e-5) == alike
