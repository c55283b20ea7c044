import pytest
import torch
from torch import nn

from poolbench import models
from poolbench.evaluation import activation

IMAGES = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(0))
LABELS = torch.tensor([0, 2, 1])


def network(head):
    torch.manual_seed(0)
    return models.create("cnn", (1, 16, 16), 3, head=head, widths=[4, 8]).eval()


def layer(model):
    return next(slot.layer for slot in models.slots(model, IMAGES[:1]) if slot.takes == "global")


def test_behind_an_average_it_is_the_class_activation_map():
    """Zhou et al.: the map weighted by the class's weights, here over the number of places."""
    model = network("gap")
    body = nn.Sequential(*list(model.children())[:-2])
    map, weight = body(IMAGES), model.classifier.weight
    expected = torch.einsum("nchw,nc->nhw", map, weight[LABELS]) / map.shape[2:].numel()
    torch.testing.assert_close(activation(model, layer(model), IMAGES, LABELS), expected.detach())


@pytest.mark.parametrize("head", ["gap", "gmp", "flatten"])
def test_places_add_up_to_the_logit_without_its_bias(head):
    model = network(head)
    logit = model(IMAGES).gather(1, LABELS[:, None])[:, 0] - model.classifier.bias[LABELS]
    torch.testing.assert_close(activation(model, layer(model), IMAGES, LABELS).sum((1, 2)), logit.detach())


def test_a_maximum_is_seen_at_one_place_a_channel():
    model = network("gmp")
    assert ((activation(model, layer(model), IMAGES, LABELS) != 0).sum((1, 2)) <= 8).all()


def test_it_leaves_the_network_as_it_is():
    model = network("gap")
    activation(model, layer(model), IMAGES, LABELS)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not layer(model)._forward_pre_hooks
