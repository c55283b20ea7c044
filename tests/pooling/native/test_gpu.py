"""Kernels for GPUs: in Triton's interpreter beside those for CPUs, through its compiler, and on a GPU where one is."""

import itertools
import math
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from importlib import import_module
from types import ModuleType
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from poolbench import pooling
from poolbench.pooling import native as kernels
from poolbench.pooling.native import operator, selection, written
from poolbench.pooling.window import Local, Window, wide
from tests.pooling.cases import tensor
from tests.pooling.native.test_agreement import TOLERANCE, drawn
from tests.pooling.test_stochastic import ACCEPTED, p_value

triton = pytest.importorskip("triton", reason="Triton is not installed")
GPUTarget = pytest.importorskip("triton.backends.compiler").GPUTarget

CHANNELS, SIDE = 3, 9
OVERLAPPING = {"kernel_size": 3, "stride": 2, "padding": 1}
INDICES = {"return_indices": True}
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "max": [{}, OVERLAPPING, OVERLAPPING | INDICES],
    "average": [{}, OVERLAPPING],
    "mixed": [{}],
    "mixed_coin": [{}],
    "subsample": [OVERLAPPING],
    "lp": [{"p": 2.0}, {"p": 2.5}, OVERLAPPING],
    "stochastic": [{}],
    "expectation": [{}, OVERLAPPING],
    "softpool": [{}, OVERLAPPING],
    "median": [OVERLAPPING, {"kernel_size": 5, "stride": 2, "padding": 2}],
    "blur": [{"border": border} for border in kernels.BORDERS],
    "max_blur": [{}],
    "average_blur": [{}, {"border": "circular"}],
    "fractional_max": [{}, INDICES],
    "adaptive_max": [{"output_size": 2}, {"output_size": 2} | INDICES],
    "s3": [{}],
    "detail_preserving": [{}, {"reward": "asymmetric"}],
    "adapool": [{}, OVERLAPPING],
    "lp_learned": [{}, OVERLAPPING],
    "ordinal": [{}],
    "lip": [{}, OVERLAPPING],
    "gated": [{}, OVERLAPPING],
}
"""Options of each operator that has kernels; `expectation` is what stochastic pooling evaluates to."""
TARGETS = [(80, torch.float32, 1), (90, torch.bfloat16, 2**31), (90, torch.float64, 2**31)]
"""Architecture, dtype and FAR that operators are compiled for in turn, as it takes seconds."""
TOLERANCES = TOLERANCE | {torch.float16: 1e-3}
every_operator = pytest.mark.parametrize("name", VARIANTS)


def called(function: str, arguments: Sequence[Any]) -> str:
    """The name of the kernel that one of torch's operators runs."""
    if function == "switches":
        return "max"
    if function.startswith("cell"):
        return "cells"
    return next(each for each in arguments if isinstance(each, str))


class Sent(TorchDispatchMode):
    """Notes the names of kernels that are called, and sends the calls to a module with such for GPUs, if given one."""

    def __init__(self, gpu: ModuleType | None = None) -> None:
        super().__init__()
        self.gpu = gpu
        self.names: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        space, _, name = function.name().partition("::")
        if space == "poolbench" and name in selection.GPU_CALLS:
            self.names.add(called(name, args))
            if self.gpu:
                return getattr(self.gpu, name)(*args)
        return function(*args, **(kwargs or {}))


def module_of(name: str, channels: int = CHANNELS, **options: Any) -> nn.Module:
    """A module that runs kernels."""
    registered = "stochastic" if name == "expectation" else name
    return pooling.create(registered, channels, **options).train(name != "expectation")


def value_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    """The output, the gradients of the input and of what is learned, and the indices that come with the output."""
    variable = x.detach().requires_grad_()
    torch.manual_seed(0)  # from which a CPU and a GPU draw the same
    output = module.to(x.device, wide(x[:0]).dtype)(variable)
    y, indices = tensor(output), output[1:] if isinstance(output, tuple) else ()
    cotangent = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(y)
    return [y.detach(), *torch.autograd.grad(y, (variable, *module.parameters()), cotangent), *indices]


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Equal but for a part of the largest finite number, in dtype and layout too; whole numbers are equal."""
    assert ours.dtype == theirs.dtype
    assert ours.stride() == theirs.stride()
    if not ours.is_floating_point():
        assert torch.equal(ours, theirs)
        return
    finite = theirs[theirs.isfinite()].abs()
    scale = 1 + (float(finite.max()) if len(finite) else 0.0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)


def without_gpu() -> dict[str, ModuleType]:
    """The modules of the kernels for GPUs, taken from those that are imported."""
    names = [name for name in sys.modules if name.startswith("poolbench.pooling.native.gpu")]
    return {name: sys.modules.pop(name) for name in names}


@pytest.fixture(scope="module")
def interpreted() -> ModuleType:
    """The kernels anew, as functions that Triton's interpreter runs on a CPU."""
    before = without_gpu()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        gpu = import_module("poolbench.pooling.native.gpu")
    without_gpu()
    sys.modules.update(before)
    return gpu


silent = pytest.mark.filterwarnings("ignore::RuntimeWarning")
"""Numpy's, where a GPU says nothing: of log 0, and of 0/0."""


@silent
@every_operator
@settings(max_examples=settings().max_examples // 40)  # the interpreter takes a second for three
@given(data=st.data())
def test_interpreted_kernel_is_that_of_the_cpu(name: str, interpreted: ModuleType, data: st.DataObject) -> None:
    registered = "stochastic" if name == "expectation" else name
    indices = "return_indices" in pooling.spec(registered).options and data.draw(st.booleans())
    module, x = data.draw(drawn(registered, channels=(1, 4), more=2, **(INDICES if indices else {})))
    assume(x.numel())
    if isinstance(module, Local):  # larger windows take the same code, longer
        assume(math.prod(module.window.kernel) <= (4 if name in ("median", "ordinal") else 9))
    module.train(name != "expectation")
    special = data.draw(st.lists(st.sampled_from([torch.nan, torch.inf, -torch.inf]), max_size=2))
    for value in special:
        x.flatten()[data.draw(st.integers(0, x.numel() - 1))] = value
    theirs = value_and_gradients(module, x)
    with Sent(interpreted):
        ours = value_and_gradients(module, x)
    # What comes back to a number that is not finite is nothing to rely on.
    for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        if place == 0 or not one.is_floating_point() or x.isfinite().all():
            close(one, other, TOLERANCE[x.dtype])


@silent
@every_operator
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_places_of_64_bits(
    name: str, memory_format: torch.memory_format, interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = module_of(name, **VARIANTS[name][-1])
    x = torch.randn(2, CHANNELS, SIDE, SIDE).contiguous(memory_format=memory_format)
    theirs = value_and_gradients(module, x)
    monkeypatch.setattr(interpreted.windows, "FAR", 1)
    interpreted.windows._plan.cache_clear()
    with Sent(interpreted):
        ours = value_and_gradients(module, x)
    interpreted.windows._plan.cache_clear()
    for one, other in zip(ours, theirs, strict=True):
        close(one, other, TOLERANCE[torch.float32])


@pytest.mark.parametrize("name", ["blur", "max_blur", "average_blur"])
@pytest.mark.parametrize("border", kernels.BORDERS)
def test_filters_on_maps_smaller_than_their_stride(name: str, border: str, interpreted: ModuleType) -> None:
    for filter_size, side in ((1, 2), (3, 3), (3, 5)):
        module = module_of(name, filter_size=filter_size, stride=3, border=border)
        x = torch.randn(1, CHANNELS, side, side)
        theirs = value_and_gradients(module, x)
        with Sent(interpreted):
            ours = value_and_gradients(module, x)
        for one, other in zip(ours, theirs, strict=True):
            close(one, other, TOLERANCE[torch.float32])


@silent
@every_operator
def test_float16_is_float32_rounded(name: str, interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "ON_CPU_TYPES", operator.ON_GPU_TYPES)
    module, x = module_of(name), torch.randn(2, CHANNELS, SIDE, SIDE).half()
    full = value_and_gradients(module, x.float())
    with Sent(interpreted):
        half = value_and_gradients(module, x)
    for one, other in zip(half, full, strict=True):
        close(one, other.to(one.dtype), TOLERANCES[torch.float16])


@silent
def test_every_kernel_for_gpus_is_run(interpreted: ModuleType) -> None:
    with Sent(interpreted) as sent:
        for name, variants in VARIANTS.items():
            module_of(name, **variants[0])(torch.rand(1, CHANNELS, 4, 4))
    assert sent.names == set(operator.ON_GPU)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_draws_from_given_numbers_and_in_proportion(
    interpreted: ModuleType, memory_format: torch.memory_format
) -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).repeat(4, 8, 16, 16).contiguous(memory_format=memory_format)
    window, last = Window.of(2, 2, 0, 1, False), int(memory_format == torch.channels_last)
    call = ("stochastic", written(operator._slid(window, 32, 32, last, True, -1)), 0.0)
    uniform = torch.rand(4, 8, 16, 16).contiguous(memory_format=memory_format)
    drawn_here = torch.ops.poolbench.slide_keeping.default(x, uniform, *call)
    for one, other in zip(interpreted.slide_keeping(x, uniform, *call), drawn_here, strict=True):
        assert torch.equal(one, other)
    y = interpreted.slide(x, torch.tensor([2**62 + 5]), *call)
    counts = y.flatten().long().bincount(minlength=5)[1:]
    assert p_value(counts, y.numel() * torch.tensor([0.1, 0.2, 0.3, 0.4])) > ACCEPTED


class Compiler:
    """Triton's driver of a GPU that is not there, of an architecture by which its kernels are kept apart."""

    def __init__(self, architecture: int) -> None:
        self.architecture = architecture

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", self.architecture, 32)

    def get_current_device(self) -> int:
        return self.architecture

    def get_current_stream(self, device: int) -> int:
        return 0


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What launches leave: kernels that are compiled, as for the launch, and not run."""
    made: list[Any] = []
    run = triton.JITFunction.run

    def warm(kernel: Any, *arguments: Any, grid: Any, warmup: bool, **options: Any) -> None:
        made.append(run(kernel, *arguments, grid=grid, warmup=True, **options))

    monkeypatch.setattr(triton.JITFunction, "run", warm)
    return made


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "architecture", "dtype", "far"),
    [(name, *target) for name, target in zip(VARIANTS, itertools.cycle(TARGETS), strict=False)],
    ids=str,
)
def test_kernels_compile_for_a_gpu(
    name: str, architecture: int, dtype: torch.dtype, far: int, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to machine code: of channels_last, and of NCHW so small that sizes of 1 become constants."""
    gpu = import_module("poolbench.pooling.native.gpu")
    monkeypatch.setattr(gpu.windows, "FAR", far)
    gpu.windows._plan.cache_clear()
    monkeypatch.setattr(triton.runtime.driver, "_active", Compiler(architecture))
    maps = torch.rand(2, SIDE, SIDE, 16).permute(0, 3, 1, 2), torch.rand(2, CHANNELS, 3, 2)
    for options, x in itertools.product(VARIANTS[name], maps):
        with Sent(gpu):
            value_and_gradients(module_of(name, x.shape[1], **options), x.to(dtype))
    gpu.windows._plan.cache_clear()
    assert len(compiled) >= 4 * len(VARIANTS[name])
    assert all(kernel.asm["cubin"] and kernel.metadata.target.arch == architecture for kernel in compiled)


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"fractional_max", "s3"}))  # which draw real numbers
def test_a_gpu_takes_its_kernels(name: str) -> None:
    """Where one is only said to be: the fake kernels of torch.compile, after the choice between kernel and formula."""
    for options in VARIANTS[name]:
        with FakeTensorMode(), torch.device("cuda"), Sent() as sent:
            x = torch.rand(2, CHANNELS, SIDE, SIDE, dtype=torch.float16)
            y = module_of(name, **options)(x)
        assert len(sent.names) == 1
        assert tensor(y).device == x.device


needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


@needs_a_gpu
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@every_operator
def test_kernel_of_a_gpu_is_the_formula_of_a_cpu(
    name: str, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    for options in VARIANTS[name]:
        module = module_of(name, 70, **options)
        if name == "mixed_coin":  # whose coins each device tosses
            module.eval()
            module.get_buffer("lead").random_(-1, 1)
        for size in ((2, 70, 5, 6), (3, 70, 33, 31)):
            x = torch.randn(size).to(dtype).contiguous(memory_format=memory_format)
            ours = value_and_gradients(module, x.cuda())
            with nullcontext() if name == "stochastic" else kernels.formulas():
                theirs = value_and_gradients(module, wide(x))
            for place, (one, other) in enumerate(zip(ours, theirs, strict=True)):
                if place < 2:  # of maps
                    assert one.is_contiguous(memory_format=memory_format)
                    other = other.to(dtype).contiguous(memory_format=memory_format)
                close(one.cpu(), other, TOLERANCES[dtype])


@needs_a_gpu
@pytest.mark.parametrize("name", ["max", "softpool", "blur"])
def test_gradients_of_second_order_on_a_gpu(name: str) -> None:
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradgradcheck(module_of(name, 2).double().cuda(), x)
