"""What torch.func makes of operators is what autograd does; derivatives forward are those backward, transposed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jvp, vjp, vmap

from poolbench import pooling
from poolbench.pooling.native import formulas
from tests.pooling.cases import example, tensor

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:FutureWarning")  # torch's own jvp

every_operator = pytest.mark.parametrize("name", pooling.names())
BY_PICTURE = [name for name in pooling.names() if pooling.spec(name).kind != "region"]
"""Operators that do to each picture what they do to it alone."""
RANDOM = [name for name in pooling.names() if pooling.spec(name).random and name != "mixed_coin"]
"""That one counts what it draws, and torch.func changes no buffer."""


@pytest.fixture(params=["kernels", "formulas"])
def backend(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.param == "kernels":
        yield
    else:
        with formulas():
            yield


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
