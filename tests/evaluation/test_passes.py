import pytest
import torch

from poolbench import models, pooling
from poolbench.evaluation import passes

GENERATOR = torch.Generator().manual_seed(0)
IMAGES = torch.rand(60, 1, 16, 16, generator=GENERATOR)
LABELS = torch.randint(3, (60,), generator=GENERATOR)


@pytest.fixture
def network():
    torch.manual_seed(1)
    return models.create("cnn", (1, 16, 16), 3, pool="fractional_max", widths=[4, 8]).eval()


def drawing(network):
    return [layer for layer in network.modules() if isinstance(layer, pooling.fractional.FractionalMax)]


def test_probabilities_of_passes_are_averaged(network):
    """Beside the same draws made one by one."""
    found = passes(network, drawing(network), IMAGES, LABELS, 4, batch_size=25)
    for layer in drawing(network):
        layer.train()
    torch.manual_seed(0)
    with torch.no_grad():
        made = [torch.cat([network(batch).softmax(1) for batch in IMAGES.split(25)]) for _ in range(4)]
    for count in range(1, 5):
        mean = torch.stack(made[:count]).mean(0)
        assert found[count - 1] == pytest.approx((mean.argmax(1) == LABELS).float().mean().item())
    assert not torch.equal(made[0], made[1])


def test_it_repeats_itself_and_leaves_no_trace(network):
    before = torch.random.get_rng_state()
    plain = network(IMAGES)
    assert passes(network, drawing(network), IMAGES, LABELS, 3) == passes(network, drawing(network), IMAGES, LABELS, 3)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(network(IMAGES), plain)
    assert not any(layer.training for layer in network.modules())


def test_norms_stay_in_evaluation(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    passes(network, drawing(network), IMAGES, LABELS, 2)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
