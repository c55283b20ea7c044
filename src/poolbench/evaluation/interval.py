"""Means over pictures and their 95 % intervals, by bootstrap."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 2**22
"""Draws at once: memory."""


Estimate = tuple[float, float, float]
"""A figure and the ends of its interval."""


def estimates(shares: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Estimate]:
    """Each figure with its interval, from what each picture adds above and below its fraction bar, (N,) both.

    >>> estimates({"mean": (torch.tensor([2.0, 2.0]), torch.ones(2))})
    {'mean': (2.0, 2.0, 2.0)}
    """
    above, below = (torch.stack([pair[side] for pair in shares.values()], 1) for side in (0, 1))
    value, (low, high) = ratios(above, below)
    return dict(zip(shares, zip(value.tolist(), low.tolist(), high.tolist(), strict=True), strict=True))


def ratios(numerators: Tensor, denominators: Tensor) -> tuple[Tensor, Tensor]:
    """Σ numerator / Σ denominator of each column, and its percentile interval: (N, F) twice to (F,), (2, F).

    Pictures are drawn with replacement, all columns together; 0 where the denominators add up to 0. The draws have a
    seed of their own, and the pictures are put into an order of their own: equal pictures give equal intervals.

    >>> value, ends = ratios(torch.ones(5, 1), torch.ones(5, 1))
    >>> value.tolist(), ends.flatten().tolist()
    ([1.0], [1.0, 1.0])
    """
    both = torch.cat([numerators, denominators], 1).double().cpu()
    generator = torch.Generator().manual_seed(0)
    both = both[(both @ torch.rand(both.shape[1], dtype=torch.double, generator=generator)).argsort()]
    resampled = torch.cat([counts @ both for counts in _counts(len(both), generator)])
    tail = (1 - CONFIDENCE) / 2
    ends = _ratio(resampled).quantile(torch.tensor([tail, 1 - tail], dtype=torch.double), dim=0)
    return _ratio(both.sum(0, keepdim=True))[0], ends


def _counts(pictures: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each picture is drawn in each resample, some resamples at a time."""
    step = max(CHUNK // pictures, 1)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        draws = torch.randint(pictures, (rows, pictures), generator=generator)
        draws += pictures * torch.arange(rows)[:, None]
        yield draws.flatten().bincount(minlength=rows * pictures).reshape(rows, pictures).double()


def _ratio(sums: Tensor) -> Tensor:
    numerator, denominator = sums.chunk(2, 1)
    return torch.where(denominator > 0, numerator / denominator, 0.0)
