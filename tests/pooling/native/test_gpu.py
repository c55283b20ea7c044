"""Kernels for GPUs: in Triton's interpreter beside those for CPUs, through its compiler, and on a GPU where one is."""

import importlib.util
import itertools
import math
import sys
from collections.abc import Callable
from contextlib import nullcontext
from types import ModuleType
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from poolbench import pooling
from poolbench.pooling import native as kernels
from poolbench.pooling.native import operator
from poolbench.pooling.window import Local, layout, wide
from tests.pooling.native.test_agreement import TOLERANCE, drawn
from tests.pooling.test_stochastic import ACCEPTED, p_value

triton = pytest.importorskip("triton", reason="Triton is not installed")
GPUTarget = pytest.importorskip("triton.backends.compiler").GPUTarget

SLIDE, BACK = torch.ops.poolbench.slide, torch.ops.poolbench.slide_backward
CHANNELS, SIDE = 3, 9
VARIANTS: dict[str, list[dict[str, Any]]] = {
    "max": [{}, {"kernel_size": 3, "stride": 2, "padding": 1}],
    "average": [{"kernel_size": 3, "stride": 2, "padding": 1}],
    "mixed": [{}],
    "subsample": [{"kernel_size": 3, "stride": 2, "padding": 1}],
    "lp": [{"p": p} for p in (2.0, 2.5)],
    "stochastic": [{}],
    "expectation": [{}],
    "softpool": [{}],
    "median": [{"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": 5, "stride": 2, "padding": 2}],
    "blur": [{"border": border} for border in kernels.BORDERS],
    "max_blur": [{}],
    "average_blur": [{}, {"border": "circular"}],
}
TARGETS = [(80, torch.float32, 1), (90, torch.bfloat16, 2**31), (90, torch.float64, 2**31)]
"""Architecture, dtype and FAR that operators are compiled for in turn, as it takes seconds."""
TOLERANCES = TOLERANCE | {torch.float16: 1e-3}
every_operator = pytest.mark.parametrize("name", operator.ON_GPU)


class Call(NamedTuple):
    """What a kernel is called with."""

    x: Tensor
    extra: Tensor | None
    name: str
    plan: list[int]
    number: float


class Calls(TorchDispatchMode):
    """Notes every call of a kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Call] = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function is SLIDE.default:
            self.seen.append(Call(*args[:5]))
        return function(*args, **(kwargs or {}))


def module_of(name: str, channels: int = CHANNELS, **options: Any) -> nn.Module:
    """A module that runs the kernel `name`; its expectation is what stochastic pooling evaluates to."""
    registered = "stochastic" if name == "expectation" else name
    return pooling.create(registered, channels, **options).train(name != "expectation")


def call(module: nn.Module, x: Tensor) -> Call:
    """What the module calls its kernel with."""
    with Calls() as calls:
        module(x)
    (found,) = calls.seen
    return found


def both(slide: Callable[..., Any], back: Callable[..., Tensor], given: Call) -> tuple[Tensor, ...]:
    """The output, what is kept, and the gradient of the input."""
    x, extra, name, plan, number = given
    y, position = slide(*given, True)
    cotangent = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(y).contiguous(memory_format=layout(y))
    kept = position if len(position) else None
    return y, position, back(cotangent, x, kept, extra, name, plan, *x.shape[2:], number)


def close(ours: Tensor, theirs: Tensor, tolerance: float) -> None:
    """Equal but for a part of the largest finite number, in dtype and layout too."""
    assert ours.dtype == theirs.dtype
    assert ours.stride() == theirs.stride()
    finite = theirs[theirs.isfinite()].abs()
    scale = 1 + (float(finite.max()) if len(finite) else 0.0)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance * scale, equal_nan=True)


@pytest.fixture(scope="module")
def interpreted() -> ModuleType:
    """gpu.py anew, its kernels as functions that Triton's interpreter runs on a CPU."""
    found = importlib.util.find_spec("poolbench.pooling.native.gpu")
    assert found is not None
    assert found.origin is not None
    spec = importlib.util.spec_from_file_location("interpreted", found.origin)
    assert spec is not None
    assert spec.loader is not None
    gpu = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITON_INTERPRET", "1")
        patch.setitem(sys.modules, "interpreted", gpu)
        spec.loader.exec_module(gpu)
    return gpu


silent = pytest.mark.filterwarnings("ignore::RuntimeWarning")
"""Numpy's, where a GPU says nothing: of log 0, and of 0/0."""


@silent
@every_operator
@settings(max_examples=settings().max_examples // 40)  # the interpreter takes a second for three
@given(data=st.data())
def test_interpreted_kernel_is_that_of_the_cpu(name: str, interpreted: ModuleType, data: st.DataObject) -> None:
    registered = "stochastic" if name == "expectation" else name
    module, x = data.draw(drawn(registered, channels=(1, 3), more=2))
    assume(x.numel())
    if isinstance(module, Local):  # larger windows take the same code, longer
        assume(math.prod(module.window.kernel) <= (4 if name == "median" else 9))
    assume(not getattr(module, "learned", None))  # which runs the kernels of max and average instead
    special = data.draw(st.lists(st.sampled_from([torch.nan, torch.inf, -torch.inf]), max_size=2))
    for value in special:
        x.flatten()[data.draw(st.integers(0, x.numel() - 1))] = value
    given = call(module.train(name != "expectation"), x)
    ours = both(interpreted.slide, interpreted.slide_backward, given)
    theirs = both(SLIDE.default, BACK.default, given)
    # What comes back to a number that is not finite is nothing to rely on; so is which of several infinities is drawn.
    compared = 1 if x.isinf().any() else 2 if x.isnan().any() else 3
    for one, other in list(zip(ours, theirs, strict=True))[:compared]:
        close(one, other, TOLERANCE[x.dtype])


@silent
@every_operator
def test_places_of_64_bits(name: str, interpreted: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    given = call(module_of(name), torch.randn(2, CHANNELS, SIDE, SIDE))
    monkeypatch.setattr(interpreted, "FAR", 1)
    ours = both(interpreted.slide, interpreted.slide_backward, given)
    for one, other in zip(ours, both(SLIDE.default, BACK.default, given), strict=True):
        close(one, other, TOLERANCE[torch.float32])


@pytest.mark.parametrize("name", ["blur", "max_blur", "average_blur"])
@pytest.mark.parametrize("border", kernels.BORDERS)
def test_filters_on_maps_smaller_than_their_stride(name: str, border: str, interpreted: ModuleType) -> None:
    for filter_size, side in ((1, 2), (3, 3), (3, 5)):
        module = module_of(name, filter_size=filter_size, stride=3, border=border)
        given = call(module, torch.randn(1, CHANNELS, side, side))
        ours = both(interpreted.slide, interpreted.slide_backward, given)
        for one, other in zip(ours, both(SLIDE.default, BACK.default, given), strict=True):
            close(one, other, TOLERANCE[torch.float32])


@silent
@every_operator
def test_float16_is_float32_rounded(name: str, interpreted: ModuleType) -> None:
    x = torch.randn(2, CHANNELS, SIDE, SIDE).half()
    given = call(module_of(name), x.float())
    half = both(interpreted.slide, interpreted.slide_backward, given._replace(x=x))
    full = both(SLIDE.default, BACK.default, given)
    for one, other in zip(half, full, strict=True):
        close(one, other.to(one.dtype), TOLERANCES[torch.float16])


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_draws_from_given_numbers_and_in_proportion(
    interpreted: ModuleType, memory_format: torch.memory_format
) -> None:
    x = torch.tensor([1.0, 2.0, 3.0, 4.0]).view(1, 1, 2, 2).repeat(4, 8, 16, 16).contiguous(memory_format=memory_format)
    given = call(module_of("stochastic"), x)
    chosen = given._replace(extra=torch.rand(4, 8, 16, 16).contiguous(memory_format=memory_format))
    for one, other in zip(interpreted.slide(*chosen, True), SLIDE.default(*chosen, True), strict=True):
        assert torch.equal(one, other)
    y, _ = interpreted.slide(*given._replace(extra=torch.tensor([2**62 + 5])), True)
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
    [(name, *target) for name, target in zip(operator.ON_GPU, itertools.cycle(TARGETS), strict=False)],
    ids=str,
)
def test_kernels_compile_for_a_gpu(
    name: str, architecture: int, dtype: torch.dtype, far: int, compiled: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Down to machine code: of channels_last, and of NCHW so small that sizes of 1 become constants."""
    from poolbench.pooling.native import gpu

    monkeypatch.setattr(gpu, "FAR", far)
    monkeypatch.setattr(triton.runtime.driver, "_active", Compiler(architecture))
    maps = torch.rand(2, SIDE, SIDE, 16).permute(0, 3, 1, 2), torch.rand(2, CHANNELS, 3, 2)
    for options, x in itertools.product(VARIANTS[name], maps):
        given = call(module_of(name, **options), x)._replace(x=x.to(dtype))
        if given.extra is not None and given.extra.is_floating_point():
            given = given._replace(extra=wide(given.extra.to(dtype)))
        both(gpu.slide, gpu.slide_backward, given)
    if name == "stochastic":
        gpu.slide(*given._replace(extra=wide(given.x)), True)
    assert len(compiled) >= 4 * len(VARIANTS[name])
    assert all(kernel.asm["cubin"] and kernel.metadata.target.arch == architecture for kernel in compiled)


@every_operator
def test_a_gpu_takes_its_kernels(name: str) -> None:
    """Where one is only said to be: the fake kernels of torch.compile, after the choice between kernel and formula."""
    with FakeTensorMode(), Calls() as calls:
        x = torch.rand(2, CHANNELS, SIDE, SIDE, device="cuda", dtype=torch.float16)
        y = module_of(name).cuda()(x)
    assert [seen.name for seen in calls.seen] == [name]
    assert y.device == x.device


needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")


def value_and_gradient(module: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    variable = x.detach().requires_grad_()
    torch.manual_seed(0)  # from which a CPU and a GPU draw the same
    y = module.to(x.device, wide(x[:0]).dtype)(variable)
    cotangent = torch.linspace(-1, 1, y.numel()).reshape(y.shape).to(y)
    return y.detach(), torch.autograd.grad(y, variable, cotangent)[0]


@needs_a_gpu
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@every_operator
def test_kernel_of_a_gpu_is_the_formula_of_a_cpu(
    name: str, dtype: torch.dtype, memory_format: torch.memory_format
) -> None:
    for options in VARIANTS[name]:
        module = module_of(name, 70, **options)
        for size in ((2, 70, 5, 6), (3, 70, 33, 31)):
            x = torch.randn(size).to(dtype).contiguous(memory_format=memory_format)
            ours = value_and_gradient(module, x.cuda())
            with nullcontext() if name == "stochastic" else kernels.formulas():
                theirs = value_and_gradient(module, wide(x))
            for one, other in zip(ours, theirs, strict=True):
                assert one.is_contiguous(memory_format=memory_format)
                close(one.cpu(), other.to(dtype).contiguous(memory_format=memory_format), TOLERANCES[dtype])


@needs_a_gpu
@pytest.mark.parametrize("name", ["max", "softpool", "blur"])
def test_gradients_of_second_order_on_a_gpu(name: str) -> None:
    x = torch.randn(1, 2, 6, 5, dtype=torch.float64, device="cuda", requires_grad=True)
    assert torch.autograd.gradgradcheck(module_of(name, 2).double().cuda(), x)
