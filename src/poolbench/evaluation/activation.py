"""Where in a picture a classifier finds what speaks for a class."""

from typing import Any

import torch
from torch import Tensor, nn

from poolbench.evaluation.answers import Model


def activation(model: Model, head: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """What each place of the map before `head` adds to the logit of the label: (N, C, H, W), (N,) to (N, H', W').

    The sum over channels of the map times the logit's gradient with respect to it (HiResCAM: Draelos, Carin, 2020,
    https://arxiv.org/abs/2011.08891). Behind a global average and a linear layer that is the class activation map of
    Zhou et al. (2016), divided by the number of places. Behind other heads it is exact where they are linear, and the
    share of each place in a small change elsewhere.

    >>> network = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> activation(network, network[1], torch.tensor([[[[1., 3.]]]]), torch.tensor([0])).tolist()
    [[[0.5, 1.5]]]
    """
    seen: list[Tensor] = []

    def watch(layer: nn.Module, received: tuple[Any, ...]) -> tuple[Any, ...]:
        seen.append(received[0].detach().requires_grad_())
        return (seen[0], *received[1:])

    handle = head.register_forward_pre_hook(watch)
    try:
        with torch.enable_grad():
            logits = model(images).float()
            logits.gather(1, labels[:, None]).sum().backward(inputs=seen)
    finally:
        handle.remove()
    (map,) = seen
    assert map.grad is not None
    return (map.detach() * map.grad).float().sum(1)
