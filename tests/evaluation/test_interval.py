import numpy as np
import pytest
import torch

from poolbench.evaluation import interval


def test_the_interval_of_a_mean_is_near_the_normal_one():
    values = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    mean, ends = interval.ratios(values, torch.ones_like(values))
    assert mean.item() == pytest.approx(values.mean().item())
    margin = 1.96 * values.std().item() / 20
    np.testing.assert_allclose(ends[:, 0], [mean.item() - margin, mean.item() + margin], atol=0.15 * margin)


def test_a_ratio_is_resampled_above_and_below_together():
    below = torch.rand(50, 1)
    value, ends = interval.ratios(0.3 * below, below)
    np.testing.assert_allclose(torch.cat([value, ends[:, 0]]), 0.3, rtol=1e-6)


def test_the_order_of_the_pictures_and_the_size_of_a_chunk_decide_nothing(monkeypatch):
    above, below = torch.rand(2, 60, 3, generator=torch.Generator().manual_seed(0))
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    first = interval.ratios(above, below)
    for found, expected in zip(interval.ratios(above[order], below[order]), first, strict=True):
        torch.testing.assert_close(found, expected)
    monkeypatch.setattr(interval, "CHUNK", 100)
    other = interval.ratios(above, below)[1]
    torch.testing.assert_close(other, first[1])


def test_nothing_below_is_0():
    value, ends = interval.ratios(torch.zeros(4, 1), torch.zeros(4, 1))
    assert value.item() == 0
    assert ends.flatten().tolist() == [0, 0]
