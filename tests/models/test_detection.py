import pytest
import torch

from poolbench import models, pooling
from poolbench.models.detection import FastRcnn

BOXES = torch.tensor([[1.0, 8, 8, 40, 30], [0, 0, 0, 16, 16], [1, 3.5, 2.25, 60, 60]])


@pytest.mark.parametrize("region", ["original", *pooling.names("region")])
def test_answers_to_regions_are_those_of_the_operator_on_the_shared_map(region):
    torch.manual_seed(0)
    network = FastRcnn((3, 64, 64), 5, region=region, widths=(4, 8)).eval()
    x = torch.rand(2, 3, 64, 64)
    scores, offsets = network(x, BOXES)
    assert (scores.shape, offsets.shape) == ((3, 5), (3, 4, 4))
    for number, box in enumerate(BOXES):
        alone = box.clone()
        alone[0] = 0
        picture = x[int(box[0])][None]
        torch.testing.assert_close(network(picture, alone[None])[0][0], scores[number], atol=1e-5, rtol=1e-4)
    assert network.region.spatial_scale == 0.25
    assert network(x)[0].shape == (2, 5)


def test_other_pooling_goes_into_its_slots():
    network = models.create("fast_rcnn_mini", (1, 64, 64), 4, pool="max_blur", region="roi_align")
    assert isinstance(network.region, pooling.regions.RoIAlign)
    pools = [slot.layer for slot in models.slots(network, torch.zeros(1, 1, 64, 64)) if slot.takes == "local"]
    assert len(pools) == 3
    assert all(isinstance(pool, models.Placed) for pool in pools)


def test_networks_with_other_region_operators_start_alike():
    info = {"channels": 1, "height": 64, "width": 64, "classes": list("abc"), "mean": [0.3], "std": [0.2]}
    states = []
    for region in ("roi_pool", "roi_align"):
        model = models.build({"model": {"name": "fast_rcnn_mini"}, "region": {"name": region}}, info)
        models.initialise(model, seed=3)
        states.append(model.state_dict())
        scores, offsets = model(torch.zeros(2, 1, 64, 64, dtype=torch.uint8), BOXES)
        assert (scores.shape, offsets.shape) == ((3, 4), (3, 3, 4))
    assert all(torch.equal(weight, states[1][name]) for name, weight in states[0].items())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": "max"}, "region=max: the slot takes a region operator and this one is local; choose from"),
        ({"region": {"name": "roi_align", "sampling_ratio": 0}}, "sampling_ratio must be at least 1, got 0"),
        ({"widths": []}, "model.widths must be one positive number a stage"),
        ({"hidden": 0}, "model.hidden must be at least 1, got 0"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        models.create("fast_rcnn_mini", (1, 64, 64), 4, **options)


def test_a_classifier_has_no_slot_for_regions():
    with pytest.raises(ValueError, match="region: model 'cnn' has no slot for it"):
        models.create("cnn", (1, 28, 28), 4, region="roi_align")
