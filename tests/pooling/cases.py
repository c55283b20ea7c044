"""A valid module and input for any operator of the registry, fixed or drawn by hypothesis."""

import typing
from functools import cache
from types import UnionType
from typing import Any

import numpy as np
import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling.window import Padding, Size
from tests.pooling.references import STRATEGIES

Inputs = tuple[Tensor, ...]
CHANNELS = 8
SHAPES: dict[str, tuple[int, ...]] = {
    "local": (2, CHANNELS, 9, 6),
    "global": (2, CHANNELS, 9, 6),
    "token": (2, 1 + 9, CHANNELS),
    "region": (2, CHANNELS, 9, 6),
    "context": (2, CHANNELS, 9, 6),
}
SMALL: dict[str, tuple[int, ...]] = {
    "local": (1, 2, 5, 4),
    "global": (1, 2, 4, 3),
    "token": (1, 1 + 4, 4),
    "region": (1, 2, 4, 3),
    "context": (1, 4, 4, 3),
}
"""For what is done for each number of an input."""
BOXES = 4


def channels_of(spec: pooling.Spec, shape: tuple[int, ...]) -> int:
    """The number of channels of an input of this shape."""
    return shape[-1] if spec.kind == "token" else shape[1]


def build(spec: pooling.Spec, channels: int = CHANNELS, seed: int = 0, **options: Any) -> nn.Module:
    """The operator in float64 and evaluation mode, its learned numbers moved a little from where they start."""
    torch.default_generator.manual_seed(seed)  # torch.manual_seed takes 3 ms where CUDA is built in but absent
    module = spec.build(channels, **options).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.1)
        for key, statistic in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                statistic.add_(torch.rand_like(statistic), alpha=0.5)
    return module


def inputs(spec: pooling.Spec, shape: tuple[int, ...], seed: int = 0, ties: bool = False) -> Inputs:
    """An input in float64, normal numbers or (`ties`) few whole ones; a region operator also receives boxes."""
    generator = np.random.default_rng(seed)
    x = generator.integers(-2, 3, shape).astype(float) if ties else generator.standard_normal(shape)
    return (torch.from_numpy(x), *boxes(spec, shape, generator))


def boxes(spec: pooling.Spec, shape: tuple[int, ...], generator: np.random.Generator) -> Inputs:
    """Boxes for a region operator, in pixels of the picture, some of them beyond its border; nothing for the others."""
    if spec.kind != "region":
        return ()
    number, scale = BOXES if shape[0] else 0, spec.options["spatial_scale"].default
    height, width = shape[2] / scale, shape[3] / scale
    corner = generator.uniform(-0.1, 0.7, (number, 2)) * (width, height)
    size = generator.uniform(0.05, 0.6, (number, 2)) * (width, height)
    picture = generator.integers(0, max(shape[0], 1), (number, 1))
    return (torch.from_numpy(np.concatenate([picture, corner, corner + size], axis=1)),)


def example(
    name: str,
    dtype: torch.dtype = torch.float64,
    device: str = "cpu",
    shapes: dict[str, tuple[int, ...]] = SHAPES,
    ties: bool = False,
) -> tuple[nn.Module, Inputs]:
    """An operator with its default options in evaluation mode, and an input for it."""
    spec = pooling.spec(name)
    shape = shapes[spec.kind]
    x, *boxes = inputs(spec, shape, ties=ties)
    boxes_dtype = torch.promote_types(dtype, torch.float32)
    module = build(spec, channels_of(spec, shape)).to(device, dtype)
    return module, (x.to(device, dtype), *(each.to(device, boxes_dtype) for each in boxes))


@cache  # a strategy takes longer to make than to draw from
def sizes(low: int, high: int) -> st.SearchStrategy[Size]:
    """One number for both axes, or two."""
    return st.one_of(st.integers(low, high), st.tuples(st.integers(low, high), st.integers(low, high)))


@cache
def paddings(high: int) -> st.SearchStrategy[Padding]:
    """'same', or up to so many pixels."""
    return st.one_of(st.just("same"), sizes(0, high))


@st.composite
def windows(draw: st.DrawFn, spec: pooling.Spec) -> tuple[dict[str, Any], tuple[int, ...]]:
    """Options of any operator with an ordinary window, or with none, and a shape that they fit."""
    options: dict[str, Any] = {
        name: draw(st.booleans())
        for name, option in spec.options.items()
        if option.type is bool and name not in ("ceil_mode", "return_indices")
    }

    for name, high in (("kernel_size", 4), ("stride", 4), ("dilation", 2)):
        if name in spec.options:
            options[name] = draw(sizes(1, high))
    kernel = np.broadcast_to(options.get("kernel_size", 1), 2)
    extent = 1 + (kernel - 1) * options.get("dilation", 1)
    border = np.zeros(2, int)
    if "padding" in spec.options:
        padding = draw(paddings(int(kernel.min()) // 2))
        options["padding"] = padding
        border = extent if padding == "same" else np.broadcast_to(np.array(padding), 2)
    if "ceil_mode" in spec.options:
        options["ceil_mode"] = draw(st.booleans()) and options.get("padding") != "same"
    # A map narrower than the dilation may slip between the positions of a window.
    smallest = np.maximum(extent - 2 * border, options.get("dilation", 1))
    height, width = (draw(st.integers(int(low), 7)) for low in smallest)
    return options, (draw(st.integers(0, 2)), draw(st.integers(1, 2)), height, width)


@st.composite
def tokens(draw: st.DrawFn) -> tuple[dict[str, Any], tuple[int, ...]]:
    """A shape for an operator over tokens: the class token and up to nine others."""
    return {}, (draw(st.integers(0, 2)), 1 + draw(st.integers(1, 9)), draw(st.integers(1, 4)))


def cases(name: str) -> st.SearchStrategy[tuple[dict[str, Any], tuple[int, ...]]]:
    """(options, input shape) of an operator: its own strategy where it has one."""
    spec = pooling.spec(name)
    if name in STRATEGIES:
        return STRATEGIES[name]()
    return tokens() if spec.kind == "token" else windows(spec)


def differentiable(module: nn.Module, given: Inputs) -> list[Tensor]:
    """What a gradient is taken of: a fresh copy of the input, then the learned numbers; boxes receive none."""
    return [given[0].detach().clone().requires_grad_(), *(p for p in module.parameters() if p.requires_grad)]


def tensor(output: Tensor | tuple[Tensor, ...]) -> Tensor:
    """The pooled map, where switches may come with it."""
    return output if isinstance(output, Tensor) else output[0]


def options_of_type(spec: pooling.Spec, kind: Any) -> list[str]:
    """Names of the options that are annotated with this type, alone or in a union."""
    return [
        name
        for name, option in spec.options.items()
        if option.type is kind or (isinstance(option.type, UnionType) and kind in typing.get_args(option.type))
    ]
