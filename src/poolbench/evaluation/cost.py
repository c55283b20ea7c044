"""What a network and the operators in its slots cost on the device at hand."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from poolbench.evaluation.energy import counter

TURNS = 9


@dataclass(frozen=True)
class Cost:
    """Times are multiples of a step of the yardstick, taken in turns with it: medians over the turns.

    A machine that others use too may take twice as long a minute later; that both of a turn are as slow cancels out, as
    far as both need the same of it. Measured on two shared cores, a network of the small study in eight processes
    beside itself with max pooling: the multiples deviate by 1 to 5 %; beside other convolutions, in float32, by 4 to 7.
    """

    parameters: int
    multiply_adds: int
    """Of one picture, in convolutions and matrix products."""
    forward: float
    step: float
    """Forward and backward of the whole network."""
    pool_step: float
    """Forward and backward of the operators in the slots alone."""
    bytes_saved: float
    """What the slots' operators keep for the backward, of one picture."""
    energy_j: float | None
    """Joules of the device for the step with 1,000 pictures; None where the machine does not tell."""
    yardstick_ms: float
    """A step of the yardstick with 1,000 pictures, in milliseconds."""


class MultiplyAdds(TorchFunctionMode):
    """Counts those of convolutions and matrix products. torch's own counter agrees, and imports its compiler first."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_function__(
        self, called: Callable[..., Any], types: Any, given: Any = (), named: Mapping[str, Any] | None = None
    ) -> Any:
        made = called(*given, **(named or {}))
        if called in (torch.conv2d, F.linear):
            self.total += made.numel() * given[1][0].numel()
        elif called in (torch.matmul, torch.bmm, Tensor.matmul, Tensor.__matmul__):
            self.total += made.numel() * given[0].shape[-1]
        elif called is F.scaled_dot_product_attention:
            self.total += given[0].numel() * given[1].shape[-2] + made.numel() * given[2].shape[-2]
        return made


def cost(network: nn.Module, slots: Mapping[str, nn.Module], images: Tensor, yardstick: nn.Module) -> Cost:
    """Measure `network` on `images` (N, C, H, W) beside a `yardstick`, and apart the operators in its `slots`."""
    inputs: dict[str, Tensor] = {}

    def remember(slot: str, _: nn.Module, received: tuple[Tensor]) -> None:
        inputs[slot] = received[0].detach()

    hooks = [operator.register_forward_pre_hook(partial(remember, slot)) for slot, operator in slots.items()]
    network.eval()
    with torch.no_grad(), MultiplyAdds() as arithmetic:
        network(images)
    for hook in hooks:
        hook.remove()
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor.detach()  # an output that its own graph holds would never be freed

    network.train()
    yardstick.train()
    for slot, operator in slots.items():
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            operator(inputs[slot].requires_grad_())

    def forward() -> None:
        network.eval()
        with torch.no_grad():
            network(images)
        network.train()

    def pool_step() -> None:
        for slot, operator in slots.items():
            _step(operator, inputs[slot])

    step = partial(_step, network, images)
    reference, *times = _in_turns([partial(_step, yardstick, images), forward, step, pool_step], images.is_cuda)
    multiples = [statistics.median(own / unit for own, unit in zip(each, reference, strict=True)) for each in times]
    joules, used = counter(images.device), None
    if joules:
        before = joules()
        for _ in range(TURNS):
            _seconds(step, images.is_cuda)
        used = 1e3 * (joules() - before) / TURNS / len(images)
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=arithmetic.total // len(images),
        forward=multiples[0],
        step=multiples[1],
        pool_step=multiples[2],
        bytes_saved=kept / len(images),
        energy_j=used,
        yardstick_ms=1e6 * statistics.median(reference) / len(images),
    )


def _step(module: nn.Module, x: Tensor) -> None:
    y = module(x)
    y.backward(torch.ones_like(y))


def _in_turns(runs: Sequence[Callable[[], object]], cuda: bool) -> list[list[float]]:
    """Seconds that each takes, in turns; the first turn is left out."""
    times: list[list[float]] = [[] for _ in runs]
    for _ in range(TURNS + 1):
        for run, own in zip(runs, times, strict=True):
            own.append(_seconds(run, cuda))
    return [own[1:] for own in times]


def _seconds(run: Callable[[], object], cuda: bool) -> float:
    start = time.perf_counter()
    run()
    if cuda:
        torch.cuda.synchronize()
    return time.perf_counter() - start
