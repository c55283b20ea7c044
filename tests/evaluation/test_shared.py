import torch

from poolbench.data.proposals import numbered
from poolbench.evaluation import shared
from poolbench.models.detection import FastRcnn


def test_both_ways_are_the_same_network_on_the_same_regions(monkeypatch):
    """Where a region is the whole picture and is not warped, the two ways give the same answers."""
    torch.manual_seed(0)
    network = FastRcnn((1, 32, 32), 4, widths=(4, 8)).eval()
    picture = torch.rand(1, 1, 32, 32)
    answers = []
    read = network.read

    def reading(*given):
        answers.append(read(*given))
        return answers[-1]

    monkeypatch.setattr(network, "read", reading)
    monkeypatch.setattr(shared, "CROPS", 2)
    boxes = numbered([torch.tensor([[0.0, 0.0, 31.0, 31.0]]).repeat(3, 1)])
    times = shared.shared_against_separate(network, picture, boxes, side=32)
    assert times.shared > times.shared_features > 0
    assert times.separate > times.separate_features > 0
    separate = [scores for scores, _ in answers if len(scores) < 3]  # three regions, two at a time
    assert [len(scores) for scores in separate] == [2, 1]
    assert len(answers) == 4  # the map once before each
    whole = network(picture)[0].expand(3, -1)
    torch.testing.assert_close(torch.cat(separate), whole, atol=1e-5, rtol=1e-4)


def test_times_are_told_as_ratios():
    from poolbench.stages.shared_features import speeds

    found = speeds(shared.Times(shared=0.5, separate=20.0, shared_features=0.1, separate_features=10.0))
    assert found["shared"] == {"seconds": 0.5, "ratio": 40.0, "features_ratio": 100.0}
    assert found["separate"] == {"seconds": 20.0, "ratio": 1.0, "features_ratio": 1.0}
