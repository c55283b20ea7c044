import numpy as np
import pytest
import torch

from poolbench.evaluation.linear import explained, probe, ridge


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)


def test_without_a_penalty_it_is_least_squares():
    x, y = drawn(50, 4), drawn(50, 3, seed=1)
    expected = np.linalg.lstsq(np.c_[x.numpy(), np.ones(50)], y.numpy(), rcond=None)[0]
    reader = ridge(x, y, 1e-12)
    np.testing.assert_allclose(torch.cat([reader.weight, reader.bias[None]]).numpy(), expected, atol=1e-9)


def test_the_penalty_is_in_parts_of_the_variance():
    """One column of variance 1 and a penalty of 1: half the slope, whatever the units of the column."""
    x = torch.tensor([[-1.0], [1.0]])
    for unit in (1.0, 1000.0):
        assert ridge(unit * x, 4 * x, 1.0)(unit * x).flatten().tolist() == pytest.approx([-2, 2])


def test_more_columns_than_rows_by_definition():
    """The weights where the slope of squared error plus penalty is 0."""
    x, y = drawn(6, 10), drawn(6, 2, seed=1)
    reader, inputs = ridge(x, y, 0.1), x - x.mean(0)
    slope = inputs.T @ (inputs @ reader.weight - (y - y.mean(0))) + 0.1 * inputs.square().sum() / 10 * reader.weight
    assert slope.abs().max() < 1e-9


def test_what_never_changes_tells_nothing_but_the_mean():
    reader = ridge(torch.ones(3, 2), torch.tensor([[1.0], [2.0], [6.0]]), 1e-6)
    assert reader(torch.ones(1, 2)).item() == 3


def test_a_probe_of_noise_is_penalised_until_it_says_little():
    """More columns than pictures, nothing to learn: the smallest penalty would fit the noise."""
    x, y = drawn(60, 80), drawn(60, 1, seed=1)
    fresh, truth = drawn(500, 80, seed=2), drawn(500, 1, seed=3)
    eager, careful = (explained(reader(fresh), truth, y.mean(0)) for reader in (ridge(x, y, 1e-6), probe(x, y)))
    assert careful > eager + 0.2


def test_explained_by_definition():
    guess, truth = drawn(20, 2), drawn(20, 2, seed=1)
    expected = 1 - ((truth - guess) ** 2).sum() / ((truth - truth.mean(0)) ** 2).sum()
    assert explained(guess, truth, truth.mean(0)) == pytest.approx(expected.item())
    assert explained(truth[:1], truth[:1], truth[0]) == 1
    assert explained(guess[:1], truth[:1], truth[0]) == 0
