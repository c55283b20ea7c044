"""Where in a network invariance is lost: how far each layer's map of a shifted picture is from the shifted map."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from math import ceil, floor

import torch
from torch import Tensor, nn

from poolbench.evaluation.answers import BATCH, Model
from poolbench.evaluation.interval import Estimate, estimates
from poolbench.evaluation.moves import Move, circular, fourier

PROBES = 64
"""Pictures at once: memory."""


@dataclass(frozen=True)
class Geometry:
    """The shape that a layer gives, without the batch; the height and width in pixels that one output of a map sees."""

    shape: list[int]
    sees: list[int] | None


@torch.inference_mode()
def equivariance(
    model: Model, layers: Mapping[str, nn.Module], images: Tensor, moves: Sequence[Move], batch_size: int = BATCH
) -> dict[str, Estimate]:
    """Each layer's equivariance error under circular shifts of `images` (N, C, H, W), averaged over them and the moves.

    The error is ‖layer(shifted) - shifted layer‖ / ‖layer‖: 0 means none, 1 as much as the map itself. A map of h rows
    moves by h / H of the picture's shift. That is between its pixels as a rule, and may mean two things: the map moved
    by just so much (Fourier), or by the whole pixels before or after, as polyphase sampling moves it; the nearest of
    these counts. What is no map, behind the head, must not change at all.

    >>> layer = nn.Conv2d(1, 2, 3, padding=1, padding_mode="circular")
    >>> error, *_ = equivariance(layer, {"conv": layer}, torch.rand(3, 1, 8, 8), [(1, 1), (0, 3)])["conv"]
    >>> error < 1e-5
    True
    """
    errors: dict[str, list[Tensor]] = {name: [] for name in layers}
    with _watched(layers) as seen:
        for batch in images.split(batch_size):
            model(batch)
            still = dict(seen)
            per_move: dict[str, list[Tensor]] = {name: [] for name in layers}
            for move, picture in zip(moves, circular(batch, moves), strict=True):
                model(picture)
                for name in layers:
                    scale = [
                        inner / outer for inner, outer in zip(still[name].shape[2:], batch.shape[2:], strict=False)
                    ]
                    per_move[name].append(_error(still[name], seen[name], move, scale))
            for name, found in per_move.items():
                errors[name].append(torch.stack(found, 1).double().mean(1).cpu())
    together = {name: torch.cat(found) for name, found in errors.items()}
    return estimates({name: (error, torch.ones_like(error)) for name, error in together.items()})


@torch.inference_mode()
def geometry(network: nn.Module, layers: Mapping[str, nn.Module], picture: Tensor) -> dict[str, Geometry]:
    """What each layer gives for `picture` (C, H, W), and how much of the picture one output of a map sees.

    A NaN in a row or a column of the picture reaches the outputs that see it, so this holds for any network; beyond
    the picture's border nothing is to be seen. It takes the output in the middle.

    >>> layer = nn.Conv2d(1, 2, 3, stride=2)
    >>> geometry(layer, {"conv": layer}, torch.zeros(1, 9, 9))["conv"]
    Geometry(shape=[2, 4, 4], sees=[3, 3])
    """
    network.eval()
    with _watched(layers) as seen:
        network(picture[None])
        shapes = {name: list(made.shape[1:]) for name, made in seen.items()}
        sees: dict[str, list[int]] = {name: [] for name, shape in shapes.items() if len(shape) == 3}
        for axis in (1, 2):
            probes = picture.repeat(picture.shape[axis], 1, 1, 1)
            probes.diagonal(dim1=0, dim2=axis + 1).fill_(torch.nan)
            reached: dict[str, list[Tensor]] = {name: [] for name in sees}
            for batch in probes.split(PROBES):
                network(batch)
                for name, found in reached.items():
                    _, rows, columns = shapes[name]
                    found.append(seen[name][:, :, rows // 2, columns // 2].isnan().any(1))
            for name, found in reached.items():
                sees[name].append(int(torch.cat(found).sum()))
    return {name: Geometry(shape, sees.get(name)) for name, shape in shapes.items()}


@contextmanager
def _watched(layers: Mapping[str, nn.Module]) -> Iterator[dict[str, Tensor]]:
    """What each layer made of the latest batch, by its name, in float32."""
    seen: dict[str, Tensor] = {}

    def watch(name: str, layer: nn.Module) -> torch.utils.hooks.RemovableHandle:
        return layer.register_forward_hook(lambda _, received, made: seen.update({name: made.float()}))

    handles = [watch(name, layer) for name, layer in layers.items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _error(still: Tensor, seen: Tensor, move: Move, scale: Sequence[float]) -> Tensor:
    """The relative error of each picture's map `seen`, (N,), where the unshifted one was `still`."""
    if still.ndim == 4:
        steps = [step * share for step, share in zip(move, scale, strict=True)]
        whole = product(*({floor(step), ceil(step)} for step in steps))
        expected = [still.roll(each, (2, 3)) for each in whole]
        if any(step % 1 for step in steps):
            expected += fourier(still, [tuple(steps)])
    else:
        expected = [still]
    distances = [(seen - each).flatten(1).norm(dim=1) for each in expected]
    norm = still.flatten(1).norm(dim=1)
    return torch.where(norm > 0, torch.stack(distances).amin(0) / norm, 0.0)
