"""What a network and the operators in its slots cost on the device at hand."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.overrides import TorchFunctionMode

from poolbench.evaluation.energy import counter

REPEATS = 3


@dataclass(frozen=True)
class Cost:
    """Times are medians, in milliseconds for 1,000 pictures."""

    parameters: int
    multiply_adds: int
    """Of one picture, in convolutions and matrix products."""
    forward_ms: float
    step_ms: float
    """Forward and backward of the whole network."""
    pool_step_ms: float
    """Forward and backward of the operators in the slots alone."""
    bytes_saved: float
    """What the slots' operators keep for the backward, of one picture."""
    energy_j: float | None
    """Joules of the device for the step with 1,000 pictures; None where the machine does not tell."""


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


def cost(network: nn.Module, slots: Mapping[str, nn.Module], images: Tensor) -> Cost:
    """Measure `network` on `images` (N, C, H, W), and apart the operators that stand in its `slots`."""
    inputs: dict[str, Tensor] = {}

    def remember(slot: str, _: nn.Module, received: tuple[Tensor]) -> None:
        inputs[slot] = received[0].detach()

    hooks = [operator.register_forward_pre_hook(partial(remember, slot)) for slot, operator in slots.items()]
    network.eval()
    with torch.no_grad(), MultiplyAdds() as arithmetic:
        network(images)
    for hook in hooks:
        hook.remove()
    with torch.no_grad():
        forward = _median(partial(network, images), images)
    network.train()
    kept = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    slots_step = 0.0
    for slot, operator in slots.items():
        received = inputs[slot].requires_grad_()
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            operator(received)
        slots_step += _median(partial(_step, operator, received), images)
    joules = counter(images.device)
    before = joules() if joules else 0.0
    step = _median(partial(_step, network, images), images)
    used = 1e3 * (joules() - before) / (REPEATS + 1) / len(images) if joules else None
    return Cost(
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        multiply_adds=arithmetic.total // len(images),
        forward_ms=forward,
        step_ms=step,
        pool_step_ms=slots_step,
        bytes_saved=kept / len(images),
        energy_j=used,
    )


def _step(module: nn.Module, x: Tensor) -> None:
    y = module(x)
    y.backward(torch.ones_like(y))


def _median(run: Callable[[], object], images: Tensor) -> float:
    """Median time in milliseconds for 1,000 pictures, the first run left out."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        run()
        if images.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return 1e6 * statistics.median(times[1:]) / len(images)
