"""Means over pictures and their 95 % intervals, by bootstrap."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

RESAMPLES = 1000
CONFIDENCE = 0.95
CHUNK = 2**17
"""Draws at once: they stay in the cache."""


Estimate = tuple[float, float, float]
"""A figure and the ends of its interval."""


Shares = Mapping[str, tuple[Tensor, Tensor]]
"""What each picture adds to each figure above and below its fraction bar, (N,) both."""


def estimates(shares: Shares) -> dict[str, Estimate]:
    """Each figure with its interval, from at least one picture.

    >>> estimates({"mean": (torch.tensor([2.0, 2.0]), torch.ones(2))})
    {'mean': (2.0, 2.0, 2.0)}
    """
    (above, _), *_ = shares.values()
    return grouped_estimates(shares, torch.zeros(len(above)))[0]


def grouped_estimates(shares: Shares, groups: Tensor) -> tuple[dict[str, Estimate], dict[int, dict[str, Estimate]]]:
    """Each figure with its interval: of all pictures, and of those of each of the `groups` (N,), from the same draws.

    >>> shares = {"mean": (torch.tensor([1.0, 2.0]), torch.ones(2))}
    >>> grouped_estimates(shares, torch.tensor([7, 8]))[1]
    {7: {'mean': (1.0, 1.0, 1.0)}, 8: {'mean': (2.0, 2.0, 2.0)}}
    """
    above, below = (torch.stack([pair[side] for pair in shares.values()], 1) for side in (0, 1))
    values, ends = ratios(above, below, groups)
    rows = [dict(zip(shares, map(tuple, row), strict=True)) for row in torch.cat([values[..., None], ends], 2).tolist()]
    return rows[0], dict(zip(groups.unique().tolist(), rows[1:], strict=True))


def ratios(numerators: Tensor, denominators: Tensor, groups: Tensor) -> tuple[Tensor, Tensor]:
    """Σ numerator / Σ denominator of each column, and its percentile interval: (N, F) twice to (1 + G, F), (…, 2).

    The first row is of all pictures, each other of a group (N,), in ascending order. Pictures are drawn with
    replacement, all columns together, and draws that leave nothing below the bar do not count; 0 where there is nothing
    at all. The draws have a seed of their own, and the pictures are put into an order of their own: equal pictures give
    equal intervals.

    >>> value, ends = ratios(torch.ones(5, 1), torch.ones(5, 1), torch.zeros(5))
    >>> value[0].tolist(), ends[0].tolist()
    ([1.0], [[1.0, 1.0]])
    """
    both = torch.cat([numerators, denominators], 1).double().cpu()
    generator = torch.Generator().manual_seed(0)
    order = (both @ torch.rand(both.shape[1], dtype=torch.double, generator=generator)).argsort()
    order = order[groups.cpu()[order].argsort(stable=True)]
    parts = both[order].split(groups.unique(return_counts=True)[1].tolist())
    resampled = torch.cat([_sums(counts, parts) for counts in _counts(len(both), generator)], 1)
    tail = (1 - CONFIDENCE) / 2
    ends = _ratio(resampled).nanquantile(torch.tensor([tail, 1 - tail], dtype=torch.double), dim=1)
    value = _ratio(_sums(torch.ones(1, len(both), dtype=torch.double), parts))[:, 0]
    return value.nan_to_num(0), ends.movedim(0, 2).nan_to_num(0)


def _sums(counts: Tensor, parts: Sequence[Tensor]) -> Tensor:
    """Columns of all pictures and of each part, drawn as often as counted: (R, N), (N, C) in parts to (1 + G, R, C)."""
    sizes = [len(part) for part in parts]
    each = torch.stack([drawn @ part for drawn, part in zip(counts.split(sizes, 1), parts, strict=True)])
    return torch.cat([each.sum(0, keepdim=True), each])


def _counts(pictures: int, generator: torch.Generator) -> Iterator[Tensor]:
    """How often each picture is drawn in each resample, some resamples at a time."""
    step = max(CHUNK // pictures, 1)
    for start in range(0, RESAMPLES, step):
        rows = min(step, RESAMPLES - start)
        draws = torch.randint(pictures, (rows, pictures), generator=generator)
        draws += pictures * torch.arange(rows)[:, None]
        yield draws.flatten().bincount(minlength=rows * pictures).reshape(rows, pictures).double()


def _ratio(sums: Tensor) -> Tensor:
    numerator, denominator = sums.chunk(2, -1)
    return torch.where(denominator > 0, numerator / denominator, torch.nan)
