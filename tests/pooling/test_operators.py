"""What every operator must do. Parametrised over the registry: registering an operator means that it is tested here."""

import copy
import math
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode

from poolbench import pooling
from tests.pooling.cases import (
    CHANNELS,
    SHAPES,
    SMALL,
    Inputs,
    build,
    cases,
    channels_of,
    differentiable,
    example,
    inputs,
    options_of_type,
    tensor,
)
from tests.pooling.references import REFERENCES, STRATEGIES, load

load()
NAMES = pooling.names()
RANDOM = [name for name in NAMES if pooling.spec(name).random]
MAPS = [name for name in NAMES if pooling.spec(name).kind in ("local", "context")]
STANDARD_SHAPE = [name for name in pooling.names("local") if pooling.spec(name).shape == pooling.Spec.shape]
DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
DTYPES = [torch.float16, torch.bfloat16, torch.float32]
SEEDS = st.integers(0, 2**32 - 1)

NONDETERMINISTIC_ON_CUDA = {
    "_adaptive_avg_pool2d_backward",
    "adaptive_max_pool2d_backward",
    "bincount",
    "fractional_max_pool2d_backward",
    "grid_sampler_2d_backward",
    "histc",
    "kthvalue",
    "max_unpool2d",
    "median",
    "nanmedian",
    "reflection_pad2d_backward",
    "scatter_reduce",
    "upsample_bicubic2d_backward",
    "upsample_bilinear2d_backward",
}
"""What `torch.use_deterministic_algorithms` refuses on a GPU, so that a machine without one finds it too."""

every_operator = pytest.mark.parametrize("name", NAMES)
every_device = pytest.mark.parametrize("device", DEVICES)


def reference(name: str, module: nn.Module, given: Inputs) -> np.ndarray:
    return REFERENCES[name](module, *(each.detach().numpy() for each in given))


def close(actual: Tensor, expected: Tensor | np.ndarray, tolerance: float) -> None:
    """Equal but for `tolerance` of the largest expected number; NaN equals NaN and ±inf itself."""
    actual, expected = actual.detach().cpu().double(), torch.as_tensor(expected).detach().cpu().double()
    finite = expected[expected.isfinite()].abs()
    scale = max(1.0, float(finite.max()) if len(finite) else 0.0)
    torch.testing.assert_close(actual, expected, rtol=0, atol=tolerance * scale, equal_nan=True)


def test_every_operator_has_a_reference() -> None:
    assert set(REFERENCES) == set(NAMES)
    assert set(STRATEGIES) <= set(NAMES)


@every_operator
@given(data=st.data(), seed=SEEDS)
def test_value_and_gradient(name: str, data: st.DataObject, seed: int) -> None:
    """The value is that of the slow reference, of few numbers, too, many of them equal.

    The gradient by the input and the learned numbers is the reference's, by differences along a direction.
    """
    spec, (options, shape) = pooling.spec(name), data.draw(cases(name))
    module, ties = build(spec, channels_of(spec, shape), seed, **options), inputs(spec, shape, seed, ties=True)
    close(tensor(module(*ties)), reference(name, module, ties), 1e-9)
    x, *boxes = inputs(spec, shape, seed)
    variables = differentiable(module, (x,))
    output = tensor(module(variables[0], *boxes))
    close(output, reference(name, module, (x, *boxes)), 1e-9)
    cotangent, *directions = (torch.randn_like(each) for each in (output, *variables))
    gradients = torch.autograd.grad(output, variables, cotangent, allow_unused=True)
    slope = sum(float((g * d).sum()) for g, d in zip(gradients, directions, strict=True) if g is not None)

    def along(distance: float) -> float:
        moved = copy.deepcopy(module) if directions[1:] else module
        with torch.no_grad():
            for parameter, direction in zip(differentiable(moved, (x,))[1:], directions[1:], strict=True):
                parameter += distance * direction
        value = reference(name, moved, (x + distance * directions[0], *boxes))
        return float((value * cotangent.numpy()).sum())

    def difference(step: float) -> float:
        return (along(step) - along(-step)) / (2 * step)

    def bend(step: float) -> float:
        """By how much the slopes on both sides differ: on a smooth curve, half as much for half of the step."""
        return (along(step) - 2 * along(0) + along(-step)) / step

    narrow, scale = difference(5e-6), 1 + abs(slope)
    if not math.isclose(slope, narrow, abs_tol=1e-5 * scale):
        wide = difference(1e-5)
        assume(abs(wide - narrow) < 1e-6 * scale)  # else a maximum changed hands in between, or the curve is too sharp
        assume(abs(bend(5e-6)) < max(0.75 * abs(bend(1e-5)), 1e-5 * scale))  # else the point itself is a corner
        assert math.isclose(slope, narrow, abs_tol=1e-5 * (scale + abs(wide)))


@pytest.mark.parametrize("name", STANDARD_SHAPE)
@given(data=st.data())
def test_shape(name: str, data: st.DataObject) -> None:
    """The law of local operators: H' = ⌊(H - k + 2p) / s⌋ + 1, ⌈⌉ with ceil_mode; ⌈H / s⌉ with padding 'same'."""
    spec, (options, shape) = pooling.spec(name), data.draw(cases(name))
    settings = {each: option.default for each, option in spec.options.items()} | options
    output = tensor(build(spec, channels_of(spec, shape), **options)(*inputs(spec, shape)))
    for axis in (0, 1):
        kernel, dilation = (
            int(np.broadcast_to(settings.get(each, 1), 2)[axis]) for each in ("kernel_size", "dilation")
        )
        stride = settings["kernel_size"] if settings["stride"] is None else settings["stride"]
        stride, size = int(np.broadcast_to(stride, 2)[axis]), shape[2 + axis]
        if settings.get("padding") == "same":
            assert output.shape[2 + axis] == math.ceil(size / stride)
            continue
        padding = int(np.broadcast_to(settings.get("padding", 0), 2)[axis])
        steps = (size + 2 * padding - dilation * (kernel - 1) - 1) / stride
        if settings.get("ceil_mode") and (math.ceil(steps) * stride) < size + padding:
            steps = math.ceil(steps)  # the last window starts inside the map, or it is left out
        assert output.shape[2 + axis] == math.floor(steps) + 1


@every_operator
def test_takes_batches_alone(name: str) -> None:
    module, (x, *boxes) = example(name)
    with pytest.raises(
        ValueError, match=rf"operator '{name}' takes .* \(N, .*\), got \(.*; a batch of one is x\[None\]"
    ):
        module(x[0], *boxes)


@every_operator
def test_gradcheck(name: str) -> None:
    """The gradient agrees with differences of the operator itself; a random one draws the same again."""
    for function, variables, fast in checked(name):
        assert torch.autograd.gradcheck(function, variables, fast_mode=fast)


@every_operator
def test_gradgradcheck(name: str) -> None:
    """So does the gradient of the gradient."""
    for function, variables, fast in checked(name):
        assert torch.autograd.gradgradcheck(function, variables, fast_mode=fast)


@pytest.mark.parametrize("ties", [False, True])
@every_operator
def test_a_gradient_that_has_one_is_the_same(name: str, ties: bool) -> None:
    """Among few whole numbers, zeros among them, too."""
    for function, variables, _ in checked(name, ties):
        y = function(*variables)
        cotangent = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        once, again = (
            torch.autograd.grad(
                *(function(*variables), variables, cotangent),
                create_graph=create_graph,
                allow_unused=True,
                materialize_grads=True,
            )
            for create_graph in (False, True)
        )
        torch.testing.assert_close(once, again)


def checked(name: str, ties: bool = False) -> Iterator[tuple[Callable[..., Tensor], tuple[Tensor, ...], bool]]:
    """In evaluation, and where the operator is random in training: it, what it is differentiated by, if coarsely."""
    spec = pooling.spec(name)
    module, given = example(name, shapes=SMALL, ties=ties)
    variables = differentiable(module, given)
    keys = [key for key, parameter in module.named_parameters() if parameter.requires_grad]

    def function(x: Tensor, *values: Tensor) -> Tensor:
        torch.manual_seed(0)
        return tensor(functional_call(module, dict(zip(keys, values, strict=True)), (x, *given[1:])))

    for training in {False, spec.random}:
        module.train(training)
        yield function, (*variables,), spec.kind == "context"  # which make hundreds of numbers of each


@every_device
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@every_operator
def test_dtype(name: str, dtype: torch.dtype, device: str) -> None:
    """The output and the gradient have the dtype of the input, and the numbers that float64 gives, to its precision."""
    module, (x, *boxes) = example(name, dtype, device)
    x.requires_grad_()
    output = tensor(module(x, *boxes))
    output.sum().backward()
    exact = copy.deepcopy(module).double()
    wide = x.detach().double().requires_grad_()
    expected = tensor(exact(wide, *(each.double() for each in boxes)))
    expected.sum().backward()
    assert x.grad is not None
    assert wide.grad is not None
    assert output.dtype == x.grad.dtype == dtype
    close(output, expected, 8 * torch.finfo(dtype).eps)
    close(x.grad, wide.grad, 32 * torch.finfo(dtype).eps)


@every_device
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@every_operator
def test_autocast(name: str, dtype: torch.dtype, device: str) -> None:
    """Under autocast the operator takes what a convolution hands it, and keeps its own numbers in float32."""
    module, (x, *boxes) = example(name, torch.float32, device)
    x = x.to(dtype).requires_grad_()
    with torch.autocast(device, torch.bfloat16):
        output = tensor(module(x, *boxes))
    output.float().sum().backward()
    assert output.dtype in (dtype, torch.bfloat16)
    assert x.grad is not None
    assert x.grad.isfinite().all()
    assert all(parameter.dtype == torch.float32 for parameter in module.parameters())
    close(output, tensor(module.double()(x.double(), *boxes)), 8 * torch.finfo(torch.bfloat16).eps)


@every_operator
def test_large_numbers_in_float16(name: str) -> None:
    """Powers and exponentials of numbers that float16 holds do not overflow."""
    module, (x, *boxes) = example(name, torch.float16)
    x = (x.abs().clamp(max=1) * 300).requires_grad_()
    output = tensor(module(x, *boxes))
    output.float().sum().backward()
    assert output.isfinite().all()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@every_device
@pytest.mark.parametrize("name", [name for name in NAMES if pooling.spec(name).kind != "token"])
def test_layout(name: str, device: str) -> None:
    """channels_last and strided inputs give the same numbers and gradients as NCHW; a map comes out as it went in."""
    module, (x, *boxes) = example(name, device=device)
    results = []
    for arranged in (x, x.contiguous(memory_format=torch.channels_last), x.repeat_interleave(2, -1)[..., ::2]):
        variable = arranged.detach().requires_grad_()
        output = tensor(module(variable, *boxes))
        results.append((output, *torch.autograd.grad(output.square().sum(), variable)))
        for memory_format in (torch.contiguous_format, torch.channels_last):
            if name in MAPS and arranged.is_contiguous(memory_format=memory_format):
                assert output.is_contiguous(memory_format=memory_format)
    for output, gradient in results[1:]:
        close(output, results[0][0], 1e-12)
        close(gradient, results[0][1], 1e-12)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@every_operator
def test_input_is_left_alone(name: str, training: bool) -> None:
    """Neither pass writes into the input, nor into the gradient that comes in."""
    module, given = example(name)
    kept = [each.clone() for each in given]
    x = given[0].requires_grad_()
    output = tensor(module.train(training)(*given))
    gradient = torch.randn_like(output)
    sent = gradient.clone()
    torch.autograd.grad(output, x, gradient)
    assert torch.equal(gradient, sent)
    assert all(map(torch.equal, kept, given))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@every_operator
def test_empty_batch(name: str, training: bool) -> None:
    """No picture in gives no row out, forward and backward."""
    spec = pooling.spec(name)
    full, empty = SHAPES[spec.kind], (0, *SHAPES[spec.kind][1:])
    module, (x, *boxes) = build(spec).train(training), inputs(spec, empty)
    output = tensor(module(x.requires_grad_(), *boxes))
    output.sum().backward()
    assert output.shape == (0, *tensor(module.eval()(*inputs(spec, full))).shape[1:])
    assert x.grad is not None
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("value", [0.0, -1.0, 1.0])
@every_operator
def test_constant_map(name: str, value: float, training: bool) -> None:
    """All-zero windows, and any constant ones, give finite values and finite gradients."""
    module, (x, *boxes) = example(name)
    variables = differentiable(module.train(training), (torch.full_like(x, value),))
    output = tensor(module(variables[0], *boxes))
    assert output.isfinite().all()
    for gradient in torch.autograd.grad(output.sum(), variables, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf], ids=str)
@every_operator
def test_special_numbers(name: str, value: float) -> None:
    """NaN and ±inf do what the reference, and so the definition, does with them."""
    module, (x, *boxes) = example(name)
    x.view(-1)[[0, x.numel() // 3]] = value
    with np.errstate(all="ignore"):
        expected = reference(name, module, (x, *boxes))
    close(tensor(module(x, *boxes)), expected, 1e-9)


@every_device
@every_operator
def test_evaluation_is_deterministic(name: str, device: str) -> None:
    """Evaluation gives the same twice, and draws nothing from torch's generator."""
    module, given = example(name, torch.float32, device)
    state = torch.get_rng_state()
    assert torch.equal(tensor(module(*given)), tensor(module(*given)))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", RANDOM)
def test_seed_repeats_training(name: str) -> None:
    """torch.manual_seed repeats the draws of a random operator, values and gradients; another seed draws others."""
    module, given = example(name)

    def draw(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        x = given[0].clone().requires_grad_()
        output = tensor(module.train()(x, *given[1:]))
        return output, torch.autograd.grad(output.sum(), x)[0]

    assert all(map(torch.equal, draw(1), draw(1)))
    assert any(not torch.equal(draw(seed)[0], draw(1)[0]) for seed in range(2, 12))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in RANDOM])
def test_training_draws_nothing(name: str) -> None:
    """What is not marked random leaves torch's generator alone in training."""
    module, given = example(name)
    state = torch.get_rng_state()
    module.train()(*given)
    assert torch.equal(torch.get_rng_state(), state)


class Watch(TorchDispatchMode):
    """Notes the name of every kernel that runs."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.seen.add(function.overloadpacket.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@every_device
@every_operator
def test_deterministic_algorithms(name: str, device: str, training: bool) -> None:
    """torch.use_deterministic_algorithms(True) allows both passes, on a GPU too."""
    module, given = example(name, torch.float32, device)
    x = given[0].requires_grad_()
    torch.use_deterministic_algorithms(True)
    try:
        with Watch() as watch:
            tensor(module.train(training)(*given)).sum().backward()
    finally:
        torch.use_deterministic_algorithms(False)
    assert x.grad is not None
    assert not watch.seen & NONDETERMINISTIC_ON_CUDA


@every_operator
def test_state_dict(name: str) -> None:
    """Another module that loads the state computes the same."""
    spec, (module, given) = pooling.spec(name), example(name)
    other = build(spec, seed=1)
    other.load_state_dict(module.state_dict())
    assert torch.equal(tensor(other(*given)), tensor(module(*given)))


@every_operator
def test_deepcopy(name: str) -> None:
    """A copy computes the same and shares nothing."""
    module, given = example(name)
    twin = copy.deepcopy(module)
    assert torch.equal(tensor(twin(*given)), tensor(module(*given)))
    addresses = {each.data_ptr() for each in module.state_dict().values()}
    assert not addresses & {each.data_ptr() for each in twin.state_dict().values()}


@every_operator
def test_compile(name: str) -> None:
    """torch.compile takes training and evaluation whole, forward and backward, and computes the same."""
    module, given = example(name, torch.float32)
    for training, backend in ((False, "eager"), (True, "aot_eager")):
        torch.compiler.reset()
        module.train(training)
        results = []
        for run in (torch.compile(module, fullgraph=True, backend=backend), module):  # what nobody has called before
            torch.manual_seed(0)
            x = given[0].clone().requires_grad_()
            output = tensor(run(x, *given[1:]))
            results.append((output, *torch.autograd.grad(output.square().sum(), x)))
        for compiled, eager in zip(*results, strict=True):
            close(compiled, eager, 1e-5)


class SideBySide(nn.ModuleDict):
    """Operators that read the same input."""

    def forward(self, *given: Tensor) -> list[Tensor]:
        return [tensor(module(*given)) for module in self.values()]


@cache
def by_onnxruntime(kind: pooling.Kind) -> dict[str, np.ndarray]:
    """What onnxruntime computes from the operators of a kind, in one export: most of its time is the exporter's own."""
    onnxruntime = pytest.importorskip("onnxruntime")
    names = pooling.names(kind)
    module = SideBySide({name: example(name, torch.float32)[0] for name in names}).eval()
    given = example(names[0], torch.float32)[1]
    program = torch.onnx.export(module, given, dynamo=True, verbose=False)
    assert program is not None
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    feed = {slot.name: each.numpy() for slot, each in zip(session.get_inputs(), given, strict=True)}
    return dict(zip(names, session.run(None, feed), strict=True))


@pytest.mark.slow
@every_operator
def test_onnx(name: str) -> None:
    """onnxruntime computes the same numbers from the exported operator."""
    module, given = example(name, torch.float32)
    computed = by_onnxruntime(pooling.spec(name).kind)[name]
    close(torch.from_numpy(computed), tensor(module(*given)), 1e-5)


@every_operator
def test_bad_options(name: str) -> None:
    """A number or a word that no option allows is a ValueError of one line."""
    spec = pooling.spec(name)
    bad: list[tuple[str, object]] = [("no_such_option", 1)]
    bad += [(option, value) for kind, value in BAD_VALUES for option in options_of_type(spec, kind)]
    for option, value in bad:
        with pytest.raises(ValueError, match=r"^[^\n]+$") as error:
            spec.build(CHANNELS, **{option: value})
        assert str(value) in str(error.value) or option in str(error.value)


BAD_VALUES: list[tuple[type, object]] = [(int, -1), (float, -math.inf), (str, "no such choice")]


@pytest.mark.parametrize("name", [name for name in STANDARD_SHAPE if "padding" in pooling.spec(name).options])
def test_window_larger_than_the_map(name: str) -> None:
    """A kernel larger than the padded map is a ValueError of one line that says what to do."""
    module = build(pooling.spec(name), kernel_size=7, padding=0)
    with pytest.raises(ValueError, match=r"window is larger than the map.*smaller kernel_size"):
        module(torch.zeros(1, CHANNELS, 5, 5, dtype=torch.float64))
