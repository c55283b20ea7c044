import numpy as np
import pytest
import torch
from torch import Tensor

from poolbench.pooling.fixed import Average
from poolbench.pooling.frequency import Spectral, Wavelet, crop


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def test_haar_is_twice_the_average() -> None:
    x = normal(2, 3, 6, 8)
    torch.testing.assert_close(Wavelet()(x), 2 * Average()(x))


@pytest.mark.parametrize("wavelet", ["haar", "db2"])
@pytest.mark.parametrize("size", [(8, 6), (7, 5), (1, 3), (2, 2)])
def test_wavelet_agrees_with_pywavelets(wavelet: str, size: tuple[int, int]) -> None:
    pywt = pytest.importorskip("pywt")
    x = normal(1, 1, *size)
    expected = pywt.dwt2(x[0, 0].numpy(), wavelet, mode="periodization")[0]
    torch.testing.assert_close(Wavelet(wavelet)(x)[0, 0], torch.from_numpy(expected))


def test_unknown_wavelet() -> None:
    with pytest.raises(ValueError, match=r"unknown wavelet 'har': did you mean 'haar'\?"):
        Wavelet("har")


@pytest.mark.parametrize("size", [1, 5, 6])
def test_cropping_nothing_changes_nothing(size: int) -> None:
    np.testing.assert_allclose(crop(size, size), np.eye(size), atol=1e-12)


@pytest.mark.parametrize(("size", "smaller"), [(9, 5), (8, 3), (7, 4)])
def test_spectral_loses_no_low_frequency(size: int, smaller: int) -> None:
    """A wave below the limit keeps its energy: the transforms are unitary."""
    wave = np.cos(2 * np.pi * np.arange(size) / size + 0.3)
    np.testing.assert_allclose(np.linalg.norm(crop(size, smaller) @ wave), np.linalg.norm(wave))


def test_spectral_drops_high_frequencies() -> None:
    x = torch.tensor([1.0, -1.0] * 8, dtype=torch.float64).expand(1, 1, 16, 16)
    torch.testing.assert_close(Spectral()(x), torch.zeros(1, 1, 8, 8, dtype=torch.float64))


def test_spectral_agrees_with_scipy_at_odd_sizes() -> None:
    """But for the factor of the unitary transform; at even sizes scipy adds up the aliases at the limit."""
    signal = pytest.importorskip("scipy.signal")
    x = normal(1, 1, 9, 10)
    expected = signal.resample(signal.resample(x[0, 0].numpy(), 5, axis=0), 5, axis=1) * (90 / 25) ** 0.5
    torch.testing.assert_close(Spectral()(x)[0, 0], torch.from_numpy(expected))
