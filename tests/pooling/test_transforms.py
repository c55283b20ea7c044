"""What torch.func makes of operators is what autograd does; derivatives forward are those backward, transposed."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, functionalize, grad, jvp, stack_module_state, vjp, vmap

from poolbench import pooling
from tests.pooling.cases import example, tensor

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own jvp

every_operator = pytest.mark.parametrize("name", pooling.names())
BY_PICTURE = [name for name in pooling.names() if pooling.spec(name).kind != "region"]
"""Operators that do to each picture what they do to it alone."""
RANDOM = [name for name in pooling.names() if pooling.spec(name).random and name != "mixed_coin"]
"""That one counts what it draws, and torch.func changes no buffer."""
WITHOUT_THIRD = {"lip", "patch_merging", "patch_merging_v2", "lp_learned"}
"""Torch's normalisations have a wrong third derivative; that of |x|^p, p between 2 and 3, has no bound near 0."""


def squares(module: Callable[..., Any], x: Tensor, *boxes: Tensor) -> Tensor:
    return tensor(module(x, *boxes)).square().sum()


def gradient(module: nn.Module, x: Tensor, *boxes: Tensor, create_graph: bool = False) -> Tensor:
    return torch.autograd.grad(squares(module, x, *boxes), x, create_graph=create_graph)[0]


@every_operator
def test_backward(name: str, backend: None) -> None:
    module, (x, *boxes) = example(name)
    found = grad(lambda x: squares(module, x, *boxes))(x)
    torch.testing.assert_close(found, gradient(module, x.requires_grad_(), *boxes))


@every_operator
def test_forward(name: str, backend: None) -> None:
    module, (x, *boxes) = example(name)
    direction = torch.randn_like(x)

    def function(x: Tensor) -> Tensor:
        return tensor(module(x, *boxes))

    y, along = jvp(function, (x,), (direction,))[:2]
    given = torch.randn_like(y)
    back = vjp(function, x)[1](given)[0]
    torch.testing.assert_close((along * given).sum(), (direction * back).sum())
    with forward_ad.dual_level():
        dual = forward_ad.unpack_dual(function(forward_ad.make_dual(x, direction)))
    torch.testing.assert_close(dual.tangent, along)


@every_operator
def test_second_order(name: str) -> None:
    """Forward over backward, and backward twice."""
    module, (x, *boxes) = example(name)
    direction = torch.randn_like(x)

    def first(x: Tensor) -> Tensor:
        return grad(lambda x: squares(module, x, *boxes))(x)

    forward = jvp(first, (x,), (direction,))[1]
    backward = grad(lambda x: (first(x) * direction).sum())(x)
    first_order = gradient(module, x.requires_grad_(), *boxes, create_graph=True)
    expected = torch.autograd.grad(first_order, x, direction)[0]
    torch.testing.assert_close(forward, expected)
    torch.testing.assert_close(backward, expected)


@pytest.mark.parametrize("name", BY_PICTURE)
def test_gradients_of_each_picture(name: str) -> None:
    """Of what is learned, too."""
    module, (x,) = example(name)
    parameters: dict[str, Tensor] = dict(module.named_parameters())

    def of_one(x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        return squares(lambda x: functional_call(module, parameters, (x,)), x[None])

    alone, of_parameters = vmap(grad(of_one, argnums=(0, 1)), in_dims=(0, None))(x, parameters)
    variables = (x.requires_grad_(), *parameters.values())
    expected = torch.autograd.grad(squares(module, x), variables, allow_unused=True, materialize_grads=True)
    torch.testing.assert_close((alone, *(each.sum(0) for each in of_parameters.values())), expected)


@pytest.mark.parametrize("name", RANDOM)
def test_a_gradient_is_of_what_was_drawn(name: str, backend: None) -> None:
    """And as many numbers are drawn as without a transform."""
    module, (x, *boxes) = example(name)
    module.train()
    results = []
    for of in (grad(lambda x: squares(module, x, *boxes)), lambda x: gradient(module, x.requires_grad_(), *boxes)):
        torch.manual_seed(1)
        results.append((of(x.detach()), torch.rand(3)))
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("name", ["stochastic", "fractional_max"])
def test_a_batch_shares_what_is_drawn(name: str, backend: None) -> None:
    pool, x = pooling.create(name, 2), torch.rand(1, 2, 8, 8).expand(4, 2, 8, 8)

    def alone(x: Tensor) -> Tensor:
        return tensor(pool(x[None]))

    y = vmap(alone, randomness="same")(x)
    assert torch.equal(y, y[:1].expand_as(y))
    for randomness in ("error", "different"):
        with pytest.raises(ValueError, match=rf"vmap with randomness='{randomness}' .* draws: .*randomness='same'"):
            vmap(alone, randomness=randomness)(x)


@pytest.mark.parametrize("name", sorted({*pooling.names("local")} - WITHOUT_THIRD))
def test_third_order(name: str) -> None:
    module, (x,) = example(name)
    u, v = torch.randn_like(x), torch.randn_like(x)

    def first(x: Tensor) -> Tensor:
        return grad(lambda x: tensor(module(x)).pow(3).sum())(x)

    def second(x: Tensor) -> Tensor:
        return jvp(first, (x,), (u,))[1]

    step = 1e-5
    differences = (second(x + step * v) - second(x - step * v)) / (2 * step)
    torch.testing.assert_close(jvp(second, (x,), (v,))[1], differences, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["blur", "max_blur", "mixed_coin"])
def test_an_ensemble_has_its_own_buffers(name: str, backend: None) -> None:
    some = [pooling.create(name, 2).eval() for _ in range(3)]
    for number, each in enumerate(some):
        for buffer in each.buffers():
            buffer.add_(number % 2 - 1)
    x = torch.rand(2, 2, 6, 6)
    parameters, buffers = stack_module_state(some)
    found = vmap(lambda p, b: functional_call(some[0], (p, b), (x,)))(parameters, buffers)
    torch.testing.assert_close(found, torch.stack([each(x) for each in some]))


@pytest.mark.parametrize("name", ["max", "lip", "roi_align"])
def test_what_is_compiled_is_transformed(name: str) -> None:
    module, (x, *boxes) = example(name)
    torch.compiler.reset()
    run = torch.compile(grad(lambda x: squares(module, x, *boxes)), fullgraph=True, backend="eager")
    torch.testing.assert_close(run(x), gradient(module, x.requires_grad_(), *boxes))


def test_what_functionalize_takes_is_not_opaque() -> None:
    """It knows no rule for such functions."""
    pool, x = pooling.create("max", 2), torch.rand(1, 2, 6, 6)
    assert torch.equal(functionalize(pool)(x), pool(x))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last], ids=["NCHW", "channels_last"])
@pytest.mark.parametrize("name", [name for name in pooling.names() if "return_indices" in pooling.spec(name).options])
def test_indices_come_compiled_transformed_and_with_gradients(
    name: str, memory_format: torch.memory_format, backend: None
) -> None:
    pool = pooling.create(name, 3, return_indices=True).eval()
    x = example(name)[1][0].contiguous(memory_format=memory_format).requires_grad_()

    def value(x: Tensor) -> Tensor:
        return pool(x)[0]

    y, index = pool(x)
    torch.compiler.reset()
    for one, other in zip(torch.compile(pool, fullgraph=True, backend="aot_eager")(x), (y, index), strict=True):
        assert torch.equal(one, other)
    assert torch.equal(vmap(lambda x: pool(x[None])[1][0])(x), index)
    (received,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad(lambda x: value(x).sum())(x), received)
    assert jvp(value, (x,), (torch.ones_like(x),))[1].sum() == received.sum()
    assert torch.autograd.gradcheck(value, x, fast_mode=True)
    assert torch.autograd.gradgradcheck(value, x, fast_mode=True)
