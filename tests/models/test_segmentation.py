import pytest
import torch

from poolbench import models, pooling

SHAPE = (1, 40, 56)


def build(context="original", **options):
    torch.manual_seed(0)
    return models.create("fcn_mini", SHAPE, 5, context=context, widths=(4, 6, 8, 8, 8), **options)


@pytest.mark.parametrize("context", ["original", *pooling.names("context")])
@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_every_context_learns_at_every_stride(context, output_stride):
    network = build(context, output_stride=output_stride)
    logits = network(torch.rand(2, *SHAPE))
    assert logits.shape == (2, 5, *SHAPE[1:])
    logits.square().mean().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("output_stride", [4, 8, 16])
def test_the_stride_is_what_is_asked_and_dilation_keeps_the_reach(output_stride):
    """A change of one pixel moves the map as far, in pixels of the picture, whether it is pooled or dilated."""
    network = build(output_stride=output_stride).eval()
    assert network.backbone(torch.zeros(1, 1, 160, 160)).shape[2] == 160 // output_stride
    rates = [layer.dilation[0] for layer in network.backbone.modules() if isinstance(layer, torch.nn.Conv2d)]
    assert rates[-1] * output_stride == 16


def test_the_map_lies_over_the_picture():
    """One bright cell in the map is interpolated to its own place: 2x2 windows have half-pixel centres."""
    network = build(output_stride=8).eval()
    network.backbone, network.decoder = torch.nn.AvgPool2d(8), torch.nn.Identity()
    picture = torch.zeros(1, 1, 40, 56)
    picture[:, :, 16:24, 24:32] = 1
    logits = network(picture)[0, 0]
    weights = logits / logits.sum()
    rows, columns = (torch.arange(size) + 0.5 for size in (40, 56))
    assert (weights.sum(1) @ rows).item() == pytest.approx(20, abs=1e-4)
    assert (weights.sum(0) @ columns).item() == pytest.approx(28, abs=1e-4)


def test_options_of_the_context_reach_it():
    network = build({"name": "aspp", "out_channels": 6, "rates": [1, 2]})
    assert [branch[0].dilation[0] for branch in network.context.branches] == [1, 1, 2]
    assert network.decoder[0][0].in_channels == 6


def test_pooling_slots_take_any_operator():
    pools = [slot.name for slot in models.slots(build(), torch.zeros(1, *SHAPE)) if slot.takes == "local"]
    assert pools == [f"backbone.pool{number}" for number in range(1, 5)]
    network = models.create("fcn_mini", SHAPE, 5, pool="max_blur")
    assert network(torch.rand(1, *SHAPE)).shape == (1, 5, *SHAPE[1:])


def test_mistakes():
    with pytest.raises(ValueError, match=r"context=max: the slot takes a context operator and this one is local"):
        build("max")
    with pytest.raises(ValueError, match=r"model\.output_stride must be 4, 8 or 16, got 32"):
        build(output_stride=32)
    with pytest.raises(ValueError, match=r"model\.widths must be five"):
        models.create("fcn_mini", SHAPE, 5, widths=(4, 4))
    with pytest.raises(ValueError, match="12 x 60 pixels is too small"):
        build()(torch.zeros(1, 1, 12, 60))
    with pytest.raises(ValueError, match="context: model 'cnn' has no slot for it"):
        models.create("cnn", (1, 28, 28), 5, context="aspp")
