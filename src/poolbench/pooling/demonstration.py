"""An operator at work on one small picture: what it makes of it, and where a gradient goes."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from poolbench.pooling.registry import Spec

CHANNELS, PATCH = 8, 7


@dataclass(frozen=True)
class Demonstration:
    """Maps (rows, columns) of one channel: the picture, what comes out, and the gradient of its sum at the picture.

    A vector, and tokens, lie in rows. Learned numbers are as they start.
    """

    given: Tensor
    made: Tensor
    gradient: Tensor
    shapes: tuple[tuple[int, ...], tuple[int, ...]]
    """Of what goes in and what comes out, all channels."""


def demonstrate(spec: Spec) -> Demonstration:
    """Put an operator to work, as it is in evaluation; its gradient is one of training, where it may draw.

    >>> from poolbench.pooling import spec
    >>> demonstrate(spec("max")).made.shape
    torch.Size([14, 14])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        given = scene()
        x = torch.stack([given.roll(shift, -1) for shift in range(CHANNELS)])[None]
        if spec.kind == "token":
            patches = F.avg_pool2d(x, PATCH).flatten(2).mT
            x = torch.cat([patches.mean(1, keepdim=True), patches], 1)
        boxes = [torch.tensor([[0.0, 4.0, 4.0, 24.0, 24.0]])] if spec.kind == "region" else []
        operator = spec.build(CHANNELS)
        with torch.no_grad():
            output = operator.eval()(x, *boxes)[0]
        x.requires_grad_()
        operator.train()(x.expand(2, *x.shape[1:]), *boxes)[0].sum().backward()
    assert x.grad is not None
    given, gradient = (x.detach()[0], x.grad[0]) if spec.kind == "token" else (x.detach()[0, 0], x.grad[0, 0])
    made = output[0] if output.ndim == 3 else output[None, : given.shape[-1]]
    return Demonstration(given, made, gradient, (tuple(x.shape[1:]), tuple(output.shape)))


def scene(size: int = 28) -> Tensor:
    """A picture with an edge, a texture, a slope and a dot, each of which pooling treats in its own way."""
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, size), torch.linspace(-1, 1, size), indexing="ij")
    radius = (rows**2 + columns**2).sqrt()
    ring = ((radius > 0.55) & (radius < 0.85)).float()
    stripes = 0.6 * ((rows * size / 4).floor() % 2) * (radius < 0.45)
    dot = ((rows + 0.82).abs() < 0.05) & ((columns + 0.82).abs() < 0.05)
    return torch.maximum(ring, stripes) + 0.25 * (columns + 1) / 2 + dot
