"""Linear readers, fitted in closed form: how much of one thing can be read off another, on pictures not seen."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

PENALTIES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass(frozen=True)
class Linear:
    """x (N, D) to x · weight + bias, (N, T)."""

    weight: Tensor
    bias: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return x.double() @ self.weight + self.bias


def ridge(x: Tensor, y: Tensor, penalty: float) -> Linear:
    """The map from x (N, D) to y (N, T) of least squares, plus `penalty` of each weight's square; no bias is penalised.

    The penalty is in parts of the mean variance of a column of x, so that the scale of x does not matter.
    Source: Hoerl, Kennard, Ridge regression: biased estimation for nonorthogonal problems (1970).

    >>> reader = ridge(torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[1.0], [3.0], [5.0]]), 1e-12)
    >>> round(reader(torch.tensor([[3.0]])).item(), 6)
    7.0
    """
    x, y = x.double(), y.double()
    mean, middle = x.mean(0), y.mean(0)
    inputs = x - mean
    wide = x.shape[1] > len(x)  # the same weights from the smaller of the two products
    gram = inputs @ inputs.T if wide else inputs.T @ inputs
    scale = gram.trace() / x.shape[1]
    gram.diagonal().add_(penalty * scale if scale > 0 else 1.0)
    rest = y - middle
    weight = inputs.T @ torch.linalg.solve(gram, rest) if wide else torch.linalg.solve(gram, inputs.T @ rest)
    return Linear(weight, middle - mean @ weight)


def explained(guess: Tensor, truth: Tensor, usual: Tensor) -> float:
    """R², the share of the variance of `truth` (N, T) about `usual` (T,) that `guess` (N, T) tells; below 0: none.

    >>> explained(torch.tensor([[1.0], [2.0]]), torch.tensor([[1.0], [3.0]]), torch.tensor([2.0]))
    0.5
    """
    spread = (truth - usual).double().square().sum()
    error = (truth - guess).double().square().sum()
    return 1 - (error / spread).item() if spread > 0 else float(error == 0)


def probe(x: Tensor, y: Tensor, penalties: Sequence[float] = PENALTIES) -> Linear:
    """The ridge reader of y (N, T) from x (N, D) whose penalty does best on a quarter that is left out of a first fit.

    >>> x = torch.rand(40, 2, generator=torch.Generator().manual_seed(0))
    >>> probe(x, x.sum(1, keepdim=True))(torch.tensor([[1.0, 2.0]])).round(decimals=2).item()
    3.0
    """
    held = max(len(x) // 4, 1)
    seen, kept = (x[held:], y[held:]), (x[:held], y[:held])
    errors = [(ridge(*seen, penalty)(kept[0]) - kept[1]).square().sum().item() for penalty in penalties]
    return ridge(x, y, penalties[errors.index(min(errors))])
