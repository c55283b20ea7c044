from functools import partial

import pytest
import torch

from poolbench import pooling
from poolbench.pooling import frequency
from poolbench.pooling.fixed import Average
from poolbench.pooling.native import formulas, operator, written
from poolbench.pooling.window import Window

LEARNED = ("detail_preserving", "adapool", "lp_learned", "ordinal", "gated")
WINDOW = Window.of(2, 2, 0, 1, False)
PLAN = written(operator._slid(WINDOW, 6, 6, last=0, counted=True, centre=-1))


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What runs: a kernel's name, or "formula"."""
    seen: list[str] = []

    def note(run, name, *arguments):
        seen.append(name)
        return run(name, *arguments)

    for run in (operator._run, operator._run_learned):
        monkeypatch.setattr(operator, run.__name__, partial(note, run))
    return seen


@pytest.mark.parametrize(
    "name",
    [
        *("max", "average", "subsample", "mixed", "lp", "stochastic", "softpool", "median"),
        *("blur", "max_blur", "average_blur", *LEARNED, "lip"),
    ],
)
def test_operators_run_their_kernel(name: str, calls: list[str]) -> None:
    pooling.create(name, 8)(torch.rand(2, 8, 6, 6))
    assert calls == [name]


def test_spectral_pooling_runs_its_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(frequency, "_multiply")
    assert pooling.create("spectral", 8)(torch.rand(2, 8, 6, 6)).shape == (2, 8, 3, 3)


@pytest.mark.parametrize(
    "x",
    [
        torch.zeros(1, 2, 4, 4, dtype=torch.float16),
        torch.zeros(0, 2, 4, 4),
        torch.zeros(1, 2, 4, 4, device="meta"),
    ],
    ids=["float16", "empty", "another device"],
)
def test_the_formula_takes_what_has_no_kernel(x: torch.Tensor, calls: list[str]) -> None:
    pooling.create("max", 2)(x)
    assert not calls


def test_what_a_kernel_is_told_of_windows_is_found_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, x = pooling.create("average", 4), torch.rand(2, 4, 6, 6)
    before = pool(x)
    monkeypatch.delattr(Window, "plan")
    assert torch.equal(pool(x), before)
    with pytest.raises(AttributeError, match="plan"):
        pool(x[:, :, :4])


@pytest.mark.parametrize("name", ["max", "average_blur", "gated"])
def test_maps_of_another_size_are_compiled_whole_too(name: str, calls: list[str]) -> None:
    """Though to torch.compile sizes become symbols, which a kernel is told as numbers."""
    torch.compiler.reset()
    pool = pooling.create(name, 3)
    compiled = torch.compile(pool, fullgraph=True, dynamic=True, backend="aot_eager")
    for height, width in ((6, 8), (9, 8), (12, 5)):
        x = torch.rand(2, 3, height, width)
        torch.testing.assert_close(compiled(x), pool(x))
    assert name in calls


@pytest.mark.parametrize("plan", ["", "2 2", "2 2 2 2 1 1 0 0 3 3 0 0 0 0 -1 0 0 6 x", PLAN.replace("6 6", "8 8")])
def test_a_plan_that_is_none_or_of_other_maps_is_refused(plan: str) -> None:
    x, y = torch.rand(1, 2, 6, 6), torch.rand(1, 2, 4, 4)
    torch.ops.poolbench.slide(x, None, "max", PLAN, 0.0)
    with pytest.raises(RuntimeError, match=r"poolbench: (a plan|no whole numbers)"):
        torch.ops.poolbench.slide(x, None, "max", plan, 0.0)
    with pytest.raises(RuntimeError, match=r"poolbench: (a plan|no whole numbers)"):
        torch.ops.poolbench.slide_backward(y, None, None, None, "average", plan, 0.0)


def test_coins_of_windows_instead_of_planes_are_refused() -> None:
    x = torch.rand(1, 2, 6, 6)
    torch.ops.poolbench.slide(x, torch.ones(1, 2, 1, 1), "coin", PLAN, 0.0)
    with pytest.raises(RuntimeError, match="poolbench: a coin for each plane"):
        torch.ops.poolbench.slide(x, torch.ones(1, 2, 4, 4), "coin", PLAN, 0.0)


def test_of_so_many_maps_and_no_more_is_kept_what_a_kernel_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator, "MOST_PLANS", 2)
    pool = Average()
    for side in (4, 6, 8, 8):
        assert pool(torch.rand(2, 4, side, side)).shape[-1] == side // 2
    assert len(pool.window.plans) == 2


def test_what_was_found_holds_for_maps_of_that_kind_alone(calls: list[str]) -> None:
    """Of one shape, but another layout, or numbers that the formula takes."""
    pool, x = pooling.create("average", 4), torch.rand(2, 4, 6, 6)
    expected = pool(x)
    for other in (x.contiguous(memory_format=torch.channels_last), x.mT.contiguous().mT, x):
        torch.testing.assert_close(pool(other), expected)
    kernels = len(calls)
    torch.testing.assert_close(pool(x.half()), expected.half(), rtol=1e-3, atol=1e-3)
    with formulas():
        torch.testing.assert_close(pool(x), expected)
    assert len(calls) == kernels == 4


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_threads_change_nothing(memory_format: torch.memory_format) -> None:
    x = torch.randn(3, 70, 32, 31).contiguous(memory_format=memory_format)
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            for name in (
                *("max", "stochastic", "blur", "max_blur", "fractional_max", "lps", "lp", "softpool", "spectral"),
                *LEARNED,
            ):
                torch.manual_seed(0)
                variable, module = x.clone().requires_grad_(), pooling.create(name, 70)
                y = module(variable)
                results.append((y, *torch.autograd.grad(y.square().sum(), (variable, *module.parameters()))))
    finally:
        torch.set_num_threads(threads)
    half = len(results) // 2
    for one, two in zip(results[:half], results[half:], strict=True):
        assert all(map(torch.equal, one, two))


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("max", 0.25),
        ("average", 0),
        ("stochastic", 0.25),
        ("mixed", 0.25),
        ("max_blur", 4.01),  # the input, and the filter
        ("average_blur", 0.01),
        ("fractional_max", 0.25),
        ("detail_preserving", 4.1),  # the input, and what is learned
        ("ordinal", 4.1),
    ],
)
def test_little_is_kept_for_the_backward_pass(name: str, most: float) -> None:
    """Bytes per number of the input."""
    held: list[int] = []

    def note(tensor: torch.Tensor) -> torch.Tensor:
        held.append(tensor.nbytes)
        return tensor

    x = torch.rand(2, 8, 16, 16, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        pooling.create(name, 8)(x)
    assert sum(held) <= most * x.numel()


def test_the_first_position_in_the_map_is_the_maximum_of_nothing() -> None:
    """As torch, whatever the layout: a window of -inf alone."""
    for memory_format in (torch.contiguous_format, torch.channels_last):
        x = torch.full((1, 2, 3, 3), -torch.inf).contiguous(memory_format=memory_format).requires_grad_()
        gradients = [
            torch.autograd.grad(run(x).masked_fill(torch.tensor(False), 0), x, torch.ones(1, 2, 2, 2))[0]
            for run in (pooling.create("max", 2, kernel_size=3, stride=2, padding=1), torch.nn.MaxPool2d(3, 2, 1))
        ]
        assert torch.equal(*gradients)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("ratio", [1.5, 3.5], ids=["two positions to a byte", "one"])
@pytest.mark.parametrize("overlapping", [True, False])
def test_regions_have_gradients_of_second_order(
    memory_format: torch.memory_format, overlapping: bool, ratio: float
) -> None:
    module = pooling.create("fractional_max", 11, ratio=ratio, overlapping=overlapping).eval()
    x = torch.randn(2, 11, 7, 6, dtype=torch.float64).contiguous(memory_format=memory_format).requires_grad_()
    assert torch.autograd.gradgradcheck(module, x)
