"""Kernels against formulas, value and gradient, on random windows, maps, layouts and number formats."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from poolbench import pooling
from poolbench.pooling import native as kernels
from poolbench.pooling.fixed import Max
from poolbench.pooling.native import operator
from poolbench.pooling.polyphase import Polyphase, blend
from poolbench.pooling.stochastic import Draw, Stochastic
from poolbench.pooling.window import layout, wide
from tests.pooling.cases import cases, channels_of, inputs, tensor

NAMES = (
    "max",
    "average",
    "subsample",
    "mixed",
    "mixed_coin",
    "lp",
    "softpool",
    "median",
    "blur",
    "max_blur",
    "average_blur",
    "fractional_max",
    "adaptive_max",
    "spectral",
    "detail_preserving",
    "adapool",
    "lp_learned",
    "ordinal",
    "lip",
    "gated",
)
TOLERANCE = {torch.float64: 1e-9, torch.float32: 2e-5, torch.bfloat16: 4e-2}
"""Of the largest number. Where bins overlap, torch adds up gradients in bfloat16."""


def both(operator_of: Callable[[Tensor], Tensor], x: Tensor) -> list[tuple[Tensor, ...]]:
    """Value and gradients, of the input and of what is learned, by kernel and by formula."""
    learned = list(operator_of.parameters()) if isinstance(operator_of, nn.Module) else []
    results = []
    for native in (True, False):
        with nullcontext() if native else kernels.formulas():
            variable = x.detach().requires_grad_()
            torch.manual_seed(0)
            output = tensor(operator_of(variable))
            cotangent = torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(x.dtype)
            results.append((output.detach(), *torch.autograd.grad(output, (variable, *learned), cotangent)))
    return results


def agree(operator_of: Callable[[Tensor], Tensor], x: Tensor) -> None:
    """Kernel and formula give the same, and the kernel keeps dtype and layout."""
    pairs = list(zip(*both(operator_of, x), strict=True))
    for ours, _ in pairs[:2]:
        assert ours.dtype == x.dtype
        assert ours.is_contiguous(memory_format=layout(x))
    for ours, theirs in pairs:
        scale = 1 + float(theirs.abs().max()) if theirs.numel() else 1.0
        torch.testing.assert_close(ours, theirs, rtol=0, atol=TOLERANCE[x.dtype] * scale, equal_nan=True)


@st.composite
def drawn(
    draw: st.DrawFn, name: str, channels: Sequence[int] = (1, 3, 16, 37), more: int = 30, **given: Any
) -> tuple[nn.Module, Tensor]:
    """An operator and an input, so much larger than it needs; what draws regions in training is left in evaluation."""
    spec, (options, shape) = pooling.spec(name), draw(cases(name))
    options |= given
    if name == "lp":
        options["p"] = draw(st.sampled_from([0.5, 1.0, 1.05, 1.3, 2.0, 2.5, 2.7, 3.0, 4.9, 7.0, 7.3, 19.0]))
    if "border" in spec.options:
        options["border"] = draw(st.sampled_from(kernels.BORDERS))
    size = (
        shape[0],
        draw(st.sampled_from(channels)),
        *(draw(st.integers(side, side + more)) for side in shape[2:]),
    )
    x = inputs(spec, size, draw(st.integers(0, 2**32 - 1)), draw(st.booleans()))[0]
    memory_format = draw(st.sampled_from([torch.contiguous_format, torch.channels_last]))
    x = x.to(draw(st.sampled_from(list(TOLERANCE)))).contiguous(memory_format=memory_format)
    module = spec.build(channels_of(spec, size), **options).train(name != "fractional_max").to(wide(x).dtype)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.3)
    return module, x


@pytest.mark.parametrize("name", NAMES)
@given(data=st.data())
def test_kernel_is_the_formula(name: str, data: st.DataObject) -> None:
    agree(*data.draw(drawn(name)))


@pytest.mark.parametrize("name", ["fractional_max", "adaptive_max"])
@given(data=st.data())
def test_switches_of_cells_are_those_of_the_formula(name: str, data: st.DataObject) -> None:
    module, x = data.draw(drawn(name, return_indices=True))
    agree_on_switches(module, with_special_numbers(x, data))


@given(data=st.data())
def test_switches_are_those_of_the_formula(data: st.DataObject) -> None:
    """Of NaN too, and of windows of -inf or of padding alone, which give nothing back."""
    size, stride, dilation = (data.draw(st.integers(1, 4)) for _ in range(3))
    padding: int | str = data.draw(st.sampled_from([*range(size // 2 + 1), "same"]))
    module = Max(size, stride, padding, dilation, return_indices=True)
    _, x = data.draw(drawn("max"))
    x = F.pad(x, [0, dilation * (size - 1)] * 2)  # so that the window is no larger
    rows, columns = module.window.covered(x.shape[-2:], padding=False)
    agree_on_switches(
        module, with_special_numbers(x, data), torch.tensor(rows).outer(torch.tensor(columns)).clamp(max=1)
    )


def with_special_numbers(x: Tensor, data: st.DataObject) -> Tensor:
    """Here and there, or nearly everywhere."""
    for value in (torch.nan, torch.inf, -torch.inf):
        x = x.masked_fill(torch.rand_like(x.float()) < data.draw(st.sampled_from([0.0, 0.2, 0.9])), value)
    return x


def agree_on_switches(module: nn.Module, x: Tensor, each: Tensor | int = 1) -> None:
    """Kernel and formula give the same maxima and indices, and so much of each maximum's gradient goes back there."""
    variable = x.clone().requires_grad_()
    y, index = module(variable)
    with kernels.formulas():
        expected = module(x)
    assert torch.equal(index, expected[1])
    assert index.is_contiguous(memory_format=layout(x))
    assert torch.equal(index, module(x)[1])
    torch.testing.assert_close(y, expected[0], rtol=0, atol=0, equal_nan=True)
    gradients = torch.ones_like(y, dtype=torch.float64) * each
    received = (
        torch.zeros_like(x, dtype=torch.float64).flatten(2).scatter_add(2, index.flatten(2), gradients.flatten(2))
    )
    (gradient,) = torch.autograd.grad(y, variable, gradients.to(y.dtype))
    torch.testing.assert_close(gradient.double().flatten(2), received, rtol=1e-2, atol=0)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("name", "options", "size"),
    [
        ("max", {"padding": 1}, (3, 24, 192, 168)),
        ("max", {"padding": 1}, (2, 32, 192, 171)),
        ("average", {}, (2, 32, 192, 184)),
        ("mixed_coin", {}, (2, 32, 192, 184)),
        ("overlapping_max", {}, (2, 32, 192, 184)),
        ("overlapping_average", {}, (3, 21, 192, 184)),
        ("lp", {}, (2, 32, 192, 171)),
        ("lp", {}, (3, 24, 192, 168)),
        ("softpool", {"kernel_size": 3, "stride": 2}, (2, 32, 198, 168)),
        ("blur", {}, (2, 32, 168, 200)),
        ("blur", {}, (32, 24, 52, 56)),
        ("max_blur", {}, (2, 32, 192, 171)),
        ("max_blur", {}, (3, 24, 192, 168)),
        ("average_blur", {"kernel_size": 7, "stride": 1, "filter_size": 7}, (2, 32, 192, 176)),
        ("adaptive_max", {"output_size": 33}, (2, 32, 198, 168)),
        ("adaptive_max", {"output_size": 200}, (3, 24, 192, 168)),
        ("fractional_max", {"pseudorandom": False}, (2, 32, 192, 176)),
    ],
)
def test_what_is_larger_than_the_caches_is_written_past_them(
    name: str, options: dict[str, int], size: Sequence[int], dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Maps of 17 MB or more; vectors, halves of one, and where neither fits."""
    pictures, *rest = size
    x = torch.randn(pictures * 8 // dtype.itemsize, *rest, dtype=dtype).contiguous(memory_format=memory_format)
    agree(pooling.create(name, x.shape[1], **options), x)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("window", [{}, {"kernel_size": 3, "stride": 2, "padding": 1}], ids=["apart", "overlapping"])
@pytest.mark.parametrize(
    ("name", "options"), [("lp", {"p": 2.0}), ("lp", {"p": 0.7}), ("lp", {"p": 9.0}), ("softpool", {})]
)
def test_sums_out_of_bounds_change_no_other_window(
    name: str, options: dict[str, float], window: dict[str, int], memory_format: torch.memory_format
) -> None:
    """Pictures and channels of ordinary, large and small numbers, of zeros, and with one NaN or infinity."""
    torch.manual_seed(0)
    x = torch.randn(7, 7, 33, 30)
    for at, factor in enumerate((1, 1e4, 1e-4, 1e20, 1e-20, 0)):
        x[at] *= factor
        x[6, at] *= factor
    x[6, 0, 10, 10], x[6, 6, 20, 20] = torch.nan, torch.inf
    pool = pooling.create(name, 7, **options, **window)
    for ours, theirs in zip(*both(pool, x.contiguous(memory_format=memory_format)), strict=True):
        scale = theirs.nan_to_num(0, 0, 0).abs().amax((2, 3), keepdim=True)
        scale = scale.where(scale > 0, 1)
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=2e-5, equal_nan=True)


@pytest.mark.parametrize("ceil_mode", [False, True], ids=["floor", "ceil"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("name", "options"),
    [("lp", {"p": p}) for p in (0.5, 2.0, 2.5, 2.7, 3.0, 7.0)] + [("softpool", {})],
)
def test_windows_of_3x3_at_a_stride_of_2(
    name: str, options: dict[str, float], dtype: torch.dtype, ceil_mode: bool
) -> None:
    """Planes that end before, at and behind the end of a vector, and of two."""
    torch.manual_seed(0)
    pool = pooling.create(name, 3, kernel_size=3, stride=2, padding=1, ceil_mode=ceil_mode, **options)
    for width in (1, 2, 7, 8, 15, 16, 17, 31, 32, 33, 34, 56, 63, 64, 65, 66):
        agree(pool, torch.randn(2, 3, width % 9 + 1, width, dtype=dtype))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize(
    ("name", "window"),
    [("max_blur", {}), ("max_blur", {"kernel_size": 3, "stride": 2, "padding": 1}), ("blur", {})],
    ids=["2x2", "3x3", "blur alone"],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 3.4e38, -3.4e38])
def test_blurs_of_a_plane_that_holds_what_is_no_ordinary_number(
    value: float, name: str, window: dict[str, int], memory_format: torch.memory_format
) -> None:
    """A single one, a window full of them, a whole plane of them; the other planes stay as they are."""
    torch.manual_seed(0)
    x = torch.randint(-2, 3, (1, 5, 33, 30)).float().contiguous(memory_format=memory_format)
    x[0, 1, 7, 9] = x[0, 2, 12:15, 27:] = x[0, 3] = value
    for ours, theirs in zip(*both(pooling.create(name, 5, **window), x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5, equal_nan=True)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize(
    ("name", "window"),
    [
        *(("max_blur", window) for window in ({}, {"padding": 1}, {"kernel_size": 3, "padding": 1})),
        ("max_blur", {"kernel_size": 3, "stride": 2, "padding": 1}),
        ("blur", {}),
    ],
    ids=str,
)
@pytest.mark.parametrize("border", kernels.BORDERS)
def test_blurs_of_numbers_that_are_often_equal(
    border: str, name: str, window: dict[str, int], dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    """Maps from the smallest on, of channels that end before, at and behind the end of vectors."""
    torch.manual_seed(0)
    for channels, side in ((3, 2), (16, 3), (17, 4), (32, 5), (33, 9), (40, 16), (70, 17)):
        x = torch.randint(-2, 3, (2, channels, side + 1, side)).to(dtype).contiguous(memory_format=memory_format)
        agree(pooling.create(name, channels, border=border, **window), x)


@pytest.mark.parametrize("width", [31, 32, 33])
def test_a_torus_of_windows_wider_than_the_map(width: int) -> None:
    """Its first and its last place are made of the same numbers."""
    pool = pooling.create("average_blur", 3, kernel_size=2, stride=1, padding=1, border="circular")
    agree(pool, torch.randn(2, 3, 8, width))


@pytest.mark.parametrize("window", [{}, {"kernel_size": 3, "stride": 2, "padding": 1}], ids=["apart", "overlapping"])
@pytest.mark.parametrize("p", [0.3, 0.5, 0.7, 1.0, 1.05, 1.3, 1.5, 2.0, 2.5, 2.7, 3.0, 4.9, 7.3, 16.0, 19.0, 40.5])
def test_powers_hold_from_the_smallest_numbers_to_the_largest(p: float, window: dict[str, int]) -> None:
    """Against float64, as parts of the number, but a gradient below 1e-9.

    Below p = 1 a kernel multiplies what rounding leaves by 1 / p.
    """
    torch.manual_seed(0)
    size = 10 ** torch.empty(1, 32, 64, 64, dtype=torch.float64).uniform_(-37, 38)
    x = (size * torch.sign(torch.randn_like(size))).float()
    pool = pooling.create("lp", 32, p=p, **window)
    exact = both(pool, x.double())[1]
    kernel, formula = both(pool, x)
    for results, bound in ((kernel, 1e-5 if p >= 1 else 3e-5), (formula, 3e-6)):
        for found, wanted in zip(results, exact, strict=True):
            held = wanted.abs() < torch.finfo(torch.float32).max / 10
            torch.testing.assert_close(found.double()[held], wanted[held], rtol=bound, atol=1e-9)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_many_more_bins_than_pixels(dtype: torch.dtype, memory_format: torch.memory_format) -> None:
    """Not in bfloat16, in which torch adds up the gradients of all."""
    x = torch.randn(2, 3, 17, 20, dtype=dtype).contiguous(memory_format=memory_format)
    agree(pooling.create("adaptive_max", 3, output_size=(30, 900)), x)


@given(data=st.data())
def test_kernel_is_the_formula_of_a_whole_map(data: st.DataObject) -> None:
    module, x = data.draw(drawn("gmp"))
    agree(lambda x: module(x)[:, :, None, None], x)


@given(data=st.data())
def test_kernel_draws_as_the_formula_from_the_same_uniform_numbers(data: st.DataObject) -> None:
    module, x = data.draw(drawn("stochastic"))
    assert isinstance(module, Stochastic)
    window = module.window
    uniform = torch.rand(*x.shape[:2], *window.shape(*x.shape[2:]), dtype=wide(x).dtype)
    uniform = uniform.contiguous(memory_format=layout(x))
    agree(
        lambda x: operator.slide(
            "stochastic", x, window, lambda x: Draw.apply(x, uniform, window), chance=lambda x: uniform
        ),
        x,
    )


@given(data=st.data())
def test_kernel_mixes_the_positions_of_a_window_as_the_formula(data: st.DataObject) -> None:
    module, x = data.draw(drawn("aps"))
    assert isinstance(module, Polyphase)
    window = module.window
    tiled = x.repeat(1, 1, *window.kernel).contiguous(memory_format=layout(x))
    shares = torch.randn(len(x), window.kernel[0] * window.kernel[1], dtype=wide(x).dtype).relu()
    agree(lambda x: operator.mixture(x, shares, window, lambda x, shares: blend(x, shares, window)), tiled)


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_kernel_finds_the_maxima_of_boxes_as_the_formula(data: st.DataObject, seed: int) -> None:
    shape, dtype = data.draw(drawn("max").map(lambda drawn: (drawn[1].shape, wide(drawn[1]).dtype)))
    torch.manual_seed(seed)
    x = torch.randperm(shape.numel()).view(shape).to(dtype)  # of equal maxima the formula takes any
    corners = (torch.rand(9, 2, 2) * 1.6 - 0.3) * torch.tensor([x.shape[3], x.shape[2]])
    boxes = torch.cat([torch.arange(9)[:, None] % max(len(x), 1), corners.flatten(1)], 1)[: 9 * len(x)]
    agree(lambda x: pooling.create("roi_pool", x.shape[1], output_size=(3, 2))(x, boxes), x)


@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_kernel_keeps_the_maxima_of_s3_as_the_formula(data: st.DataObject, seed: int) -> None:
    """Where training draws rows and columns, overlapping windows and the border among them."""
    module, x = data.draw(drawn("s3"))

    def draw(x: Tensor) -> Tensor:
        torch.default_generator.manual_seed(seed)
        return tensor(module.train()(x))

    agree(draw, x)
