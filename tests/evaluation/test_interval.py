import numpy as np
import pytest
import torch

from poolbench.evaluation import interval

ALONE = torch.zeros(60)


def test_the_interval_of_a_mean_is_near_the_normal_one():
    values = torch.rand(400, 1, generator=torch.Generator().manual_seed(0))
    mean, ends = interval.ratios(values, torch.ones_like(values), torch.zeros(400))
    assert mean[0].item() == pytest.approx(values.mean().item())
    margin = 1.96 * values.std().item() / 20
    np.testing.assert_allclose(ends[0, 0], [mean[0].item() - margin, mean[0].item() + margin], atol=0.15 * margin)


def test_a_ratio_is_resampled_above_and_below_together():
    below = torch.rand(60, 1)
    value, ends = interval.ratios(0.3 * below, below, ALONE)
    np.testing.assert_allclose(torch.cat([value[0], ends[0, 0]]), 0.3, rtol=1e-6)


def test_the_order_of_the_pictures_and_the_size_of_a_chunk_decide_nothing(monkeypatch):
    above, below = torch.rand(2, 60, 3, generator=torch.Generator().manual_seed(0))
    groups = torch.arange(60) % 3
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    first = interval.ratios(above, below, groups)
    for found, expected in zip(interval.ratios(above[order], below[order], groups[order]), first, strict=True):
        torch.testing.assert_close(found, expected)
    monkeypatch.setattr(interval, "CHUNK", 100)
    torch.testing.assert_close(interval.ratios(above, below, groups)[1], first[1])


def test_a_group_has_the_figures_of_its_own_pictures():
    above, below = torch.rand(2, 600, 2, generator=torch.Generator().manual_seed(0))
    groups = torch.tensor([5, 9, 9]).repeat(200)
    values, ends = interval.ratios(above, below, groups)
    for row, mine in enumerate([groups > 0, groups == 5, groups == 9]):
        expected, near = interval.ratios(above[mine], below[mine], groups[mine])
        torch.testing.assert_close(values[row], expected[0])
        width = (near[0, :, 1] - near[0, :, 0]).max().item()
        np.testing.assert_allclose(ends[row], near[0], atol=0.2 * width)


def test_draws_that_miss_a_group_do_not_count():
    above = torch.ones(60, 1)
    groups = torch.arange(60).clamp(max=1)
    values, ends = interval.ratios(above, above, groups)
    assert values.flatten().tolist() == [1, 1, 1]
    assert ends.unique().tolist() == [1]


def test_nothing_below_is_0():
    value, ends = interval.ratios(torch.zeros(60, 1), torch.zeros(60, 1), ALONE)
    assert value.unique().tolist() == [0]
    assert ends.unique().tolist() == [0]
