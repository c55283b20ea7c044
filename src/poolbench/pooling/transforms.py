"""Functions that torch.func may transform, though they run kernels or have a backward pass of their own."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor
from torch._C._functorch import TransformType, peek_interpreter_stack
from torch.autograd import forward_ad
from torch.compiler import is_compiling
from torch.utils.checkpoint import get_device_states, set_device_states

P = ParamSpec("P")
R = TypeVar("R", bound=Tensor | tuple[Tensor, ...])
Function = Callable[..., Tensor | tuple[Tensor, ...]]


def transformable(function: Callable[P, R]) -> Callable[P, R]:
    """The function, `Opaque` where it is transformed.

    It is differentiated by those of its arguments that are tensors and not given by name; it reads no others.
    """

    @wraps(function)
    def run(*arguments: P.args, **options: P.kwargs) -> R:
        if not transforming():
            return function(*arguments, **options)
        places = [place for place, each in enumerate(arguments) if isinstance(each, Tensor)]
        tensors: list[Any] = [arguments[place] for place in places]

        def of_tensors(*given: Tensor) -> R:
            all_of_them: dict[int, Any] = dict(enumerate(arguments)) | dict(zip(places, given, strict=True))
            return function(*all_of_them.values(), **options)

        result: R = Opaque.apply(Drawing(of_tensors, tensors), *tensors)
        return result

    return run


def transforming() -> bool:
    """Whether torch.func, or forward-mode differentiation, is at work; torch.compile looks into functions itself."""
    if is_compiling():
        return False
    innermost = peek_interpreter_stack()
    active = forward_ad._current_level >= 0 if innermost is None else innermost.key() != TransformType.Functionalize
    return active and torch._C._is_fwd_grad_enabled()


def random_state(tensors: Sequence[Tensor]) -> list[Tensor]:
    """That of the generators of the CPU and of the devices of the tensors."""
    return [torch.get_rng_state(), *get_device_states(*tensors)[1]]


class Drawing:
    """A function that draws the same random numbers each time."""

    def __init__(self, function: Function, tensors: Sequence[Tensor]) -> None:
        self.function, self.devices = function, get_device_states(*tensors)[0]
        self.state, *self.states = random_state(tensors)

    def __call__(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        torch.set_rng_state(self.state)
        set_device_states(self.devices, self.states)
        return self.function(*tensors)


class Opaque(torch.autograd.Function):
    """A function of tensors into which transforms do not look: its derivatives are what autograd finds within it.

    They are opaque functions again, and so differentiated likewise. `vmap` calls the function for each of its batch,
    for which the same numbers are drawn.
    """

    @staticmethod
    def forward(function: Function, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        return function(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.function, *tensors = inputs
        ctx.real = [each.is_floating_point() for each in (output if isinstance(output, tuple) else (output,))]
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        needed = ctx.needs_input_grad[1:]
        by = [place for place, need in enumerate(needed) if need]
        back = partial(pulled_back, ctx.function, by, len(gradients))
        found = iter(Opaque.apply(back, *gradients, *ctx.saved_tensors))
        return None, *(next(found) if need else None for need in needed)

    @staticmethod
    def jvp(ctx: Any, _: None, *tangents: Tensor | None) -> Any:
        along = {place: tangent for place, tangent in enumerate(tangents) if tangent is not None}
        forward = partial(pushed_forward, ctx.function, [*along], len(tangents))
        found = Opaque.apply(forward, *ctx.saved_tensors, *along.values())
        if isinstance(found, Tensor):
            return found
        return tuple(each if real else None for each, real in zip(found, ctx.real, strict=True))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], function: Function, *tensors: Tensor) -> tuple[Any, Any]:
        some = list(zip(tensors, in_dims[1:], strict=True))
        before = random_state(tensors)
        results = [
            Opaque.apply(function, *(x if axis is None else x.select(axis, number) for x, axis in some))
            for number in range(info.batch_size)
        ]
        if info.randomness != "same" and not all(map(torch.equal, before, random_state(tensors))):
            raise ValueError(
                f"vmap with randomness={info.randomness!r} over an operator that draws: it draws the same numbers for "
                "all of a batch, which randomness='same' allows"
            )
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        return tuple(map(torch.stack, zip(*results, strict=True))), (0,) * len(results[0])


def pulled_back(function: Function, by: Sequence[int], number: int, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The gradients of the arguments `by` place, from those of so many results; they come first, then all arguments."""
    gradients, arguments, again = tensors[:number], tensors[number:], torch.is_grad_enabled()
    variables, results = repeated(function, by, arguments)
    return torch.autograd.grad(
        results, variables, gradients, create_graph=again, allow_unused=True, materialize_grads=True
    )


def pushed_forward(function: Function, by: Sequence[int], number: int, *tensors: Tensor) -> Any:
    """How the results change along tangents of the arguments `by` place, which come behind so many arguments.

    What takes gradients back is linear in them, and this is its transpose.
    """
    arguments, tangents, again = tensors[:number], tensors[number:], torch.is_grad_enabled()
    variables, results = repeated(function, by, arguments)
    with torch.enable_grad():
        gradients = [torch.zeros_like(each).requires_grad_() for each in results]
    back = torch.autograd.grad(
        results, variables, gradients, create_graph=True, allow_unused=True, materialize_grads=True
    )
    linear = [(each, along) for each, along in zip(back, tangents, strict=True) if each.requires_grad]
    found = torch.autograd.grad(
        [each for each, _ in linear],
        gradients,
        [along for _, along in linear],
        create_graph=again,
        allow_unused=True,
        materialize_grads=True,
    )
    return found if len(found) > 1 else found[0]


def repeated(
    function: Function, by: Sequence[int], arguments: Sequence[Tensor]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """What the function is differentiated by, and its results: with gradients, and drawn from the same numbers."""
    within = torch.is_grad_enabled()  # another function that is differentiated
    given = [each if within and each.requires_grad else each.detach() for each in arguments]
    with torch.enable_grad(), torch.random.fork_rng(get_device_states(*arguments)[0]):
        variables = [given[place] if given[place].requires_grad else given[place].requires_grad_() for place in by]
        results = function(*given)
        results = results if isinstance(results, tuple) else (results,)
        nothing = sum(each.flatten()[:0].sum() for each in variables)  # what depends on none of them: they count still
        return variables, tuple(each if each.requires_grad else each + nothing for each in results)
