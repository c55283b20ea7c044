"""References of wavelet and spectral pooling."""

from typing import Any

import numpy as np
from hypothesis import strategies as st

from poolbench.pooling.frequency import Spectral, Wavelet
from tests.pooling.references import reference, strategy
from tests.pooling.references.blurred import filtered

HAAR = [0.5**0.5, 0.5**0.5]
DB2 = [0.48296291314469025, 0.836516303737469, 0.22414386804185735, -0.12940952255092145]


@reference("wavelet")
def wavelet(module: Wavelet, x: np.ndarray) -> np.ndarray:
    height, width = x.shape[2:]
    even = np.pad(x, ((0, 0), (0, 0), (0, height % 2), (0, width % 2)), mode="edge")
    return filtered(module.low_pass, HAAR if len(module.low_pass.taps) == 2 else DB2, even)


@strategy("wavelet")
@st.composite
def wavelets(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    side = st.integers(1, 9)
    shape = (draw(st.integers(0, 2)), draw(st.integers(1, 3)), draw(side), draw(side))
    return {"wavelet": draw(st.sampled_from(["haar", "db2"]))}, shape


def cropped(x: np.ndarray, axis: int, stride: int) -> np.ndarray:
    """The low frequencies along one axis, through the unitary Fourier transform."""
    size = x.shape[axis]
    smaller = (size - 1) // stride + 1
    spectrum = np.moveaxis(np.fft.fft(x, axis=axis, norm="ortho"), axis, -1)
    kept = np.zeros((*spectrum.shape[:-1], smaller), complex)
    for frequency in range(-((smaller - 1) // 2), (smaller - 1) // 2 + 1):
        kept[..., frequency] = spectrum[..., frequency]
    if smaller % 2 == 0:
        limit = smaller // 2
        kept[..., limit] = (spectrum[..., limit] + spectrum[..., -limit]) / 2
    return np.moveaxis(np.fft.ifft(kept, axis=-1, norm="ortho").real, -1, axis)


@reference("spectral")
def spectral(module: Spectral, x: np.ndarray) -> np.ndarray:
    if not np.isfinite(x).all():
        whole = np.isfinite(x).all((2, 3), keepdims=True)
        return np.where(whole, spectral(module, np.nan_to_num(x, posinf=0, neginf=0)), np.nan)
    return cropped(cropped(x, 2, module.stride[0]), 3, module.stride[1])
